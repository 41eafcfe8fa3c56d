"""Rust never calls Python: it puts items on a queue, and an event loop takes them."""

from __future__ import annotations

import re
from pathlib import Path

RUST = Path(__file__).parents[2] / "core_rs"
CALLS = re.compile(
    r"\.call0\(|\.call1\(|\.call\(\(|call_method|PyModule::import|py\.import|\.getattr\(|py\.run\(|py\.eval\("
)


def test_no_crate_but_the_bridge_knows_python() -> None:
    manifests = {path.parent.name: path.read_text() for path in RUST.glob("*/Cargo.toml")}
    assert [name for name, text in manifests.items() if "pyo3" in text] == ["py"]


def test_the_bridge_calls_nothing_of_python() -> None:
    calls = {
        f"{path.name}:{number}: {line.strip()}"
        for path in (RUST / "py/src").rglob("*.rs")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if CALLS.search(line)
    }
    assert calls == set()
