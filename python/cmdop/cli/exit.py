"""Exit codes. They are part of the interface: scripts depend on them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cmdop import v1

EXIT_CODES: Final = """\
Exit codes: 0 done; 2 usage, a malformed call, or a server or host that cannot start; 3 denied, rejected, expired or \
not to be confined; 4 held for approval; 5 ran and failed; 6 outcome unknown; 7 cannot reach the server."""


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    """The outcome is `applied` and the expected effects are true; a call that only looks counts."""
    USAGE = 2
    """The command line or the call is malformed, or a server or host cannot start until something is mended."""
    DENIED = 3
    """Policy denied it, a person rejected it, nobody decided in time, or the host cannot confine it."""
    HELD = 4
    """It waits for a person."""
    FAILED = 5
    """It ran and failed, or the host failed before it ran."""
    UNKNOWN = 6
    """Nobody can tell whether it happened."""
    UNREACHABLE = 7
    """The server cannot be reached or takes no calls."""


def code_of_call(call: v1.Call) -> ExitCode:
    """The exit code of a call as it is now."""
    from cmdop import v1

    held = {v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD}
    if call.state == v1.CallState.CALL_STATE_UNKNOWN or call.outcome == v1.Outcome.OUTCOME_UNKNOWN:
        return ExitCode.UNKNOWN
    if call.state in held:
        return ExitCode.HELD
    if call.HasField("error"):
        return code_of_error(call.error)
    return ExitCode.DONE if call.outcome == v1.Outcome.OUTCOME_APPLIED else ExitCode.FAILED


def code_of_error(error: v1.Error) -> ExitCode:
    """The exit code of an error."""
    from cmdop.errors import BY_REASON, CmdopError, reason_name

    special = _SPECIAL.get(name := reason_name(error.reason))
    return (
        special
        if special is not None
        else _FAMILIES.get(BY_REASON.get(name, CmdopError).__mro__[1].__name__, ExitCode.FAILED)
    )


_SPECIAL: Final = {
    "APPROVAL_REQUIRED": ExitCode.HELD,
    "UNKNOWN_APPROVAL": ExitCode.USAGE,
    "APPROVAL_NOT_PENDING": ExitCode.USAGE,
    "PERMIT_INVALID": ExitCode.DENIED,
    "EFFECT_NOT_PERMITTED": ExitCode.DENIED,
    # It was not run, because nothing here could hold it to what is permitted.
    "PREVIEW_UNAVAILABLE": ExitCode.DENIED,
    "DIRECT_UNAVAILABLE": ExitCode.DENIED,
    "OUTCOME_UNKNOWN": ExitCode.UNKNOWN,
    "FRAME_TOO_LARGE": ExitCode.USAGE,
    "INVALID_CONFIGURATION": ExitCode.USAGE,
    "LEDGER_CORRUPT": ExitCode.FAILED,
    "INTERNAL": ExitCode.FAILED,
}
_FAMILIES: Final = {
    "MalformedCallError": ExitCode.USAGE,
    "RefusedError": ExitCode.DENIED,
    "ExecutionError": ExitCode.FAILED,
    "ServiceError": ExitCode.UNREACHABLE,
}
