"""The core is imported by the bridge and by nothing else.

import-linter cannot see this: an extension module is not in its graph.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "cmdop"


def imports_the_core(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        if any(name == "cmdop._core" or name.startswith("cmdop._core.") for name in names):
            return True
    return False


def test_only_the_bridge_imports_the_core() -> None:
    importers = {path for path in PACKAGE.rglob("*.py") if imports_the_core(path.read_text())}
    assert importers, "nothing imports the core: this test looks in the wrong place"
    assert {path.parent.name for path in importers} == {"_bridge"}


def test_each_way_to_import_the_core_is_seen() -> None:
    assert imports_the_core("from cmdop import v1, _core")
    assert imports_the_core("import cmdop._core as core")
    assert imports_the_core("def f():\n    from cmdop._core import Runtime")
    assert not imports_the_core("from cmdop import _corelike")
