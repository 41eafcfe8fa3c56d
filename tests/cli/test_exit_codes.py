"""Exit codes are an interface."""

from __future__ import annotations

import json

import pytest

from cmdop import v1
from cmdop.cli.app import main
from cmdop.cli.exit import AS_END, MEANINGS, OF_REASON, REASONS, ExitCode, code_of_call, code_of_error
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
        ("HOST_UNAVAILABLE", ExitCode.UNREACHABLE),
        ("STORAGE_FULL", ExitCode.DENIED),
        ("CONFIRMATION_REQUIRED", ExitCode.USAGE),
        ("APPROVAL_VOID", ExitCode.USAGE),
        ("INVALID_CONFIGURATION", ExitCode.USAGE),
    ],
)
def test_an_error_has_its_exit_code(reason: str, code: ExitCode) -> None:
    assert code_of_error(error(reason)) == code


def test_every_reason_is_in_the_table_once_and_exits_without_success() -> None:
    listed = [reason for reasons in REASONS.values() for reason in reasons.split()]
    assert sorted(listed) == sorted(BY_REASON)
    assert ExitCode.DONE not in REASONS
    assert set(AS_END) <= set(BY_REASON)


@pytest.mark.parametrize("reason", sorted(BY_REASON))
def test_a_call_and_an_answer_with_the_same_error_exit_alike(reason: str) -> None:
    ended = v1.Call(state=STATE.CALL_STATE_NOT_APPLIED, outcome=OUTCOME.OUTCOME_NOT_APPLIED, error=error(reason))
    assert code_of_call(ended) == AS_END.get(reason, OF_REASON[reason])
    assert code_of_error(error(reason)) == OF_REASON[reason]


def test_a_reason_of_a_newer_server_is_a_failure() -> None:
    assert code_of_error(v1.Error(reason=4711)) == ExitCode.FAILED  # type: ignore[arg-type]


def test_errors_tells_the_exit_code_of_every_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "--json"]) == ExitCode.DONE
    told = {row["reason"]: row["exit_code"] for row in json.loads(capsys.readouterr().out)}
    assert told == OF_REASON


def test_help_tells_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.DONE
    told = capsys.readouterr().out.split("Exit codes: ")[1]
    assert all(f"{int(code)} " in told for code in ExitCode)
    assert set(MEANINGS) == set(ExitCode)


def test_an_error_without_a_call_says_who_called(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["call", "files.read", "--agent", "bot", "--user", "ada", "--json"]
    assert main(arguments) == ExitCode.USAGE
    told = json.loads(capsys.readouterr().out)
    assert (told["call_id"], told["user"], told["agent"]) == (None, "ada", "bot")
