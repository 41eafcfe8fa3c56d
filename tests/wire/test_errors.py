"""The table of reasons, as Python's errors have it."""

from __future__ import annotations

from typing import Any

from cmdop import v1
from cmdop.document import error_document
from cmdop.errors import BY_REASON, CmdopError, MalformedJsonError


def is_followable(remedy: dict[str, Any]) -> bool:
    """It names what to mend or to wait for, or why there is nothing to do."""
    match remedy:
        case {"kind": "fix_arguments", "expected": str(expected)}:
            return bool(expected)
        case {"kind": "stop", "why": str(why)}:
            return bool(why)
        case {"kind": "retry_after", "ms": int(ms)}:
            return ms > 0
        case {"kind": "request_approval"}:
            return True
        case _:
            return False


def test_every_error_made_here_has_a_remedy_that_a_machine_can_follow() -> None:
    reasons = [value.number for value in v1.Reason.DESCRIPTOR.values if value.number]
    assert len(BY_REASON) == len(reasons)
    for name, kind in BY_REASON.items():
        error = kind("what is wrong")
        assert error.remedy is not None and is_followable(error.remedy), name
        assert error_document(error.proto)["reason"] == name
    assert is_followable(CmdopError("?").remedy or {})


def test_an_empty_remedy_is_not_taken_for_one() -> None:
    assert not is_followable({"kind": "fix_arguments", "path": "/x", "expected": ""})
    assert not is_followable({"kind": "stop", "why": ""})
    assert MalformedJsonError.fix("m", "one object").remedy == {
        "kind": "fix_arguments",
        "path": "",
        "expected": "one object",
    }
