"""Exit codes are an interface."""

from __future__ import annotations

import json

import pytest

from cmdop import v1
from cmdop.cli.app import main
from cmdop.cli.exit import ExitCode, code_of_call, code_of_error
from cmdop.errors import BY_REASON

STATE = v1.CallState
OUTCOME = v1.Outcome


def error(reason: str) -> v1.Error:
    return v1.Error(reason=f"REASON_{reason}")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (v1.Call(state=STATE.CALL_STATE_APPLIED, outcome=OUTCOME.OUTCOME_APPLIED), ExitCode.DONE),
        (
            v1.Call(state=STATE.CALL_STATE_APPLIED, outcome=OUTCOME.OUTCOME_APPLIED, error=error("EFFECT_MISSING")),
            ExitCode.FAILED,
        ),
        (v1.Call(state=STATE.CALL_STATE_HELD, error=error("APPROVAL_REQUIRED")), ExitCode.HELD),
        (v1.Call(state=STATE.CALL_STATE_DIFF_HELD), ExitCode.HELD),
        (
            v1.Call(
                state=STATE.CALL_STATE_NOT_APPLIED, outcome=OUTCOME.OUTCOME_NOT_APPLIED, error=error("POLICY_DENIED")
            ),
            ExitCode.DENIED,
        ),
        (
            v1.Call(state=STATE.CALL_STATE_UNKNOWN, outcome=OUTCOME.OUTCOME_UNKNOWN, error=error("HOST_UNAVAILABLE")),
            ExitCode.UNKNOWN,
        ),
    ],
)
def test_a_call_has_the_exit_code_of_its_outcome(call: v1.Call, code: ExitCode) -> None:
    assert code_of_call(call) == code


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("INVALID_ARGUMENTS", ExitCode.USAGE),
        ("UNDECLARED_EFFECT", ExitCode.USAGE),
        ("FLOOR_DENIED", ExitCode.DENIED),
        ("APPROVAL_REJECTED", ExitCode.DENIED),
        ("APPROVAL_EXPIRED", ExitCode.DENIED),
        ("APPROVAL_REQUIRED", ExitCode.HELD),
        ("COMMAND_FAILED", ExitCode.FAILED),
        ("TIMED_OUT", ExitCode.FAILED),
        ("OUTCOME_UNKNOWN", ExitCode.UNKNOWN),
        ("UNREACHABLE", ExitCode.UNREACHABLE),
        ("DRAINING", ExitCode.UNREACHABLE),
        ("INVALID_CONFIGURATION", ExitCode.USAGE),
    ],
)
def test_an_error_has_the_exit_code_of_its_family(reason: str, code: ExitCode) -> None:
    assert code_of_error(error(reason)) == code


def test_no_error_exits_with_success() -> None:
    assert all(code_of_error(error(reason)) != ExitCode.DONE for reason in BY_REASON)


def test_an_error_without_a_call_says_who_called(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["call", "files.read", "--agent", "bot", "--user", "ada", "--json"]
    assert main(arguments) == ExitCode.USAGE
    told = json.loads(capsys.readouterr().out)
    assert (told["call_id"], told["user"], told["agent"]) == (None, "ada", "bot")
