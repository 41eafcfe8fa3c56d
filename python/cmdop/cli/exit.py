"""Exit codes. They are part of the interface: scripts depend on them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cmdop import v1

EXIT_CODES: Final = """\
Exit codes: 0 done; 2 usage, a malformed call or answer, or a server or host that cannot start; 3 denied, rejected, \
expired, not to be confined, or not taken by the server; 4 held for approval; 5 ran and failed; 6 outcome unknown; \
7 cannot reach the server or the host. `cmdop errors` tells the code of each reason."""


class ExitCode(IntEnum):
    """What a command's exit code says; `MEANINGS` has it in words."""

    DONE = 0
    USAGE = 2
    DENIED = 3
    HELD = 4
    FAILED = 5
    UNKNOWN = 6
    UNREACHABLE = 7


MEANINGS: Final = {
    ExitCode.DONE: "Done: the outcome is `applied` and the expected effects are true; a call that only looks counts.",
    ExitCode.USAGE: "What was typed or sent must become another: a command line, a call, an answer to an approval, a "
    "configuration.",
    ExitCode.DENIED: "It was refused, and nothing of it happened: by policy, a person, silence, or a server or host "
    "that cannot take it.",
    ExitCode.HELD: "It waits for a person.",
    ExitCode.FAILED: "It ran and failed, or cmdop itself did.",
    ExitCode.UNKNOWN: "Nobody can tell whether it happened.",
    ExitCode.UNREACHABLE: "The server or the host cannot be reached; `cmdop calls list` says what became of a call "
    "whose session was cut.",
}


def code_of_call(call: v1.Call) -> ExitCode:
    """The exit code of a call as it is now."""
    from cmdop import v1
    from cmdop.errors import reason_name

    held = {v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD}
    if call.state == v1.CallState.CALL_STATE_UNKNOWN or call.outcome == v1.Outcome.OUTCOME_UNKNOWN:
        return ExitCode.UNKNOWN
    if call.state in held:
        return ExitCode.HELD
    if call.HasField("error"):
        return AS_END.get(reason_name(call.error.reason)) or code_of_error(call.error)
    return ExitCode.DONE if call.outcome == v1.Outcome.OUTCOME_APPLIED else ExitCode.FAILED


def code_of_error(error: v1.Error) -> ExitCode:
    """The exit code of an error that a command was answered with."""
    from cmdop.errors import reason_name

    # A newer server may have reasons that are not known here.
    return OF_REASON.get(reason_name(error.reason), ExitCode.FAILED)


REASONS: Final = {
    ExitCode.USAGE: """
        MALFORMED_JSON INVALID_ARGUMENTS INVALID_ACTION INVALID_EFFECT ARGUMENTS_TOO_LARGE MALFORMED_COMMAND
        UNKNOWN_TOOL UNKNOWN_HOST UNDECLARED_EFFECT KEY_CONFLICT SCHEMA_REJECTED UNKNOWN_CALL UNKNOWN_RUN
        UNKNOWN_APPROVAL UNKNOWN_FREEZE UNKNOWN_GRANT APPROVAL_NOT_PENDING APPROVAL_VOID CONFIRMATION_REQUIRED
        FRAME_TOO_LARGE INVALID_CONFIGURATION
    """,
    ExitCode.DENIED: """
        FLOOR_DENIED POLICY_DENIED NOT_PERMITTED APPROVAL_REJECTED APPROVAL_EXPIRED POLICY_ERROR PREDICTION_FAILED
        NOT_APPROVER UNAUTHENTICATED RUN_TERMINATED SUPERSEDED SHADOW_ONLY FROZEN DENIED_BEFORE OWN_APPROVAL
        CALL_MODIFIED
        PREVIEW_UNAVAILABLE DIRECT_UNAVAILABLE PERMIT_INVALID EFFECT_NOT_PERMITTED
        LOAD_SHED STORAGE_ERROR STORAGE_FULL
    """,
    ExitCode.HELD: "APPROVAL_REQUIRED",
    ExitCode.FAILED: """
        COMMAND_FAILED TIMED_OUT CANCELLED EFFECT_MISSING COMMIT_CONFLICT PREVIEW_LOST UNSUPPORTED_CHANGE
        PATH_NOT_FOUND PATH_EXISTS PATH_NOT_USABLE CONTENT_CHANGED HOST_STORAGE_FULL HOST_ERROR NOT_RESTORABLE
        LIMIT_EXCEEDED DEPLOY_LOCKED RELEASE_CONFLICT HEALTH_CHECK_FAILED RESULT_LOST
        PROTOCOL_VIOLATION LEDGER_CORRUPT INTERNAL
    """,
    ExitCode.UNKNOWN: "OUTCOME_UNKNOWN",
    ExitCode.UNREACHABLE: "HOST_UNAVAILABLE UNREACHABLE DRAINING SLOW_CONSUMER UNSUPPORTED_PROTOCOL",
}

OF_REASON: Final = {reason: code for code, reasons in REASONS.items() for reason in reasons.split()}
"""The exit code of every reason. The pages of the reasons and `cmdop errors` are told by it, too."""

AS_END: Final = {"APPROVAL_VOID": ExitCode.DENIED, "OUTCOME_UNKNOWN": ExitCode.FAILED}
"""Where a call that ended so has another: its approval did not hold, and nobody typed anything wrong; a person found
what nobody could tell, that nothing of it was applied."""
