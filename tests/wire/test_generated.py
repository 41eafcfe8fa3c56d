"""What is committed is what `proto/` generates."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from cmdop import errors, v1

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "tools" / "regenerate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_files_are_what_the_protos_generate(regenerate: ModuleType) -> None:
    files: dict[Path, str] = regenerate.generate(ROOT)
    stale = [str(path) for path, text in files.items() if (ROOT / path).read_text() != text]
    assert not stale, "run `make regenerate`"


def test_no_stub_is_left_of_a_proto_that_is_gone(regenerate: ModuleType) -> None:
    committed = {path.relative_to(ROOT) for path in (ROOT / "python/cmdop/v1").glob("*_pb2*")}
    assert committed <= set(regenerate.generate(ROOT))


def test_every_reason_but_unspecified_has_a_class() -> None:
    reasons = {name.removeprefix("REASON_") for name in v1.Reason.keys()} - {"UNSPECIFIED"}
    assert set(errors.BY_REASON) == reasons


def test_no_error_class_shadows_a_builtin() -> None:
    assert not {kind.__name__ for kind in errors.BY_REASON.values()} & set(dir(builtins))


def test_every_error_is_a_cmdop_error_with_a_reason_and_a_retry_class() -> None:
    for reason, kind in errors.BY_REASON.items():
        error = kind("what is wrong")
        assert isinstance(error, errors.CmdopError)
        assert errors.reason_name(error.proto.reason) == reason
        assert error.retry != "unspecified"


def test_an_error_from_the_wire_keeps_its_remedy_and_its_class() -> None:
    effect = v1.ExpectedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_DELETE, target="/srv/x")
    proto = v1.Error(
        reason=v1.Reason.REASON_UNDECLARED_EFFECT,
        message="declare it",
        remedy=v1.Remedy(declare_effect=v1.DeclareEffect(effects=[effect])),
        call_id="c1",
    )
    error = errors.CmdopError.from_bytes(proto.SerializeToString())
    assert type(error) is errors.UndeclaredEffectError
    assert error.call_id == "c1"
    assert error.remedy == {
        "kind": "declare_effect",
        "effects": [{"kind": "file.delete", "target": "/srv/x", "min_count": 1, "max_count": None}],
    }


def test_a_reason_of_a_newer_server_is_still_an_error() -> None:
    error = errors.CmdopError.from_proto(v1.Error(reason=4711, message="new"))  # type: ignore[arg-type]
    assert type(error) is errors.CmdopError
    assert error.message == "new"
