"""Every error that cmdop raises: one tree, with a class for each reason of the wire's table.

An error says what is wrong, why, and what to do next in a form that a program can follow::

    try:
        await client.host("local").files.delete("/srv/app/old.log")
    except cmdop.RefusedError as error:
        print(error.reason, error.remedy)   # POLICY_DENIED  {'kind': 'narrow_effect', ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias, cast

from cmdop import v1
from cmdop.v1.error_pb2 import ReasonSpec, reason_spec

Retry: TypeAlias = Literal["unspecified", "never", "after_fix", "after_delay", "same_key", "reconcile"]


class CmdopError(Exception):
    """An error of cmdop. Its subclasses say which; `reason` says it in the words of the wire.

    Args:
        message: One or two sentences that say what is wrong and how to mend it.
        proto: The error as it came over the wire, if it did.
    """

    reason: ClassVar[str] = "UNSPECIFIED"
    """Text form of the wire's `Reason`, such as `POLICY_DENIED`."""
    retry: ClassVar[Retry] = "never"
    """What may be done about it without changing what the call means."""
    grpc_code: ClassVar[int] = 2
    """Canonical gRPC status code."""

    def __init__(self, message: str, *, proto: v1.Error | None = None) -> None:
        super().__init__(message)
        self.message = message
        """What is wrong, for a person."""
        self.proto = proto if proto is not None else _made(self.reason, message)
        """The error as a message of `cmdop.v1`."""

    @classmethod
    def from_proto(cls, error: v1.Error) -> CmdopError:
        """The typed error for a message of the wire. Reasons of a newer server become `CmdopError`."""
        kind = BY_REASON.get(reason_name(error.reason), CmdopError)
        return kind(error.message or reason_name(error.reason), proto=error)

    @classmethod
    def from_bytes(cls, data: bytes) -> CmdopError:
        """The typed error for an encoded `cmdop.v1.Error`."""
        return cls.from_proto(v1.Error.FromString(data))

    @classmethod
    def fix(cls, message: str, expected: str, *, path: str = "") -> Self:
        """An error of this class that is mended by giving something else.

        Args:
            message: What is wrong.
            expected: What to give instead.
            path: Where, as a JSON pointer; empty if that goes without saying.
        """
        remedy = v1.Remedy(fix_arguments=v1.FixArguments(path=path, expected=expected))
        return cls(message, proto=v1.Error(reason=_reason_number(cls.reason), message=message, remedy=remedy))

    @property
    def remedy(self) -> dict[str, Any] | None:
        """What to do next: `{"kind": "fix_arguments", "path": …, "expected": …}`, or None."""
        from cmdop.document import remedy_document

        return remedy_document(self.proto.remedy)

    @property
    def violations(self) -> tuple[v1.Violation, ...]:
        """Everything that is wrong with a malformed call."""
        return tuple(self.proto.violations)

    @property
    def policies(self) -> tuple[v1.PolicyRef, ...]:
        """The policies that refused it, most specific first."""
        return tuple(self.proto.policies)

    @property
    def call_id(self) -> str:
        """The call it is about, or an empty text."""
        return self.proto.call_id


class BridgeClosedError(CmdopError):
    """The client was closed, or was never opened. Use it inside `async with`."""

    reason: ClassVar[str] = "UNREACHABLE"


class BridgeForkedError(CmdopError):
    """The process forked after the client was opened. Open a new one in the child."""

    reason: ClassVar[str] = "INTERNAL"


def reason_name(reason: int) -> str:
    """Text form of a `Reason`: `POLICY_DENIED`. Numbers of a newer server stay numbers."""
    value = v1.Reason.DESCRIPTOR.values_by_number.get(reason)
    return str(reason) if value is None else value.name.removeprefix("REASON_")


def _made(name: str, message: str) -> v1.Error:
    """An error with the remedy that usually comes with its reason, as far as it needs no details."""
    number = _reason_number(name)
    # What the stubs of protobuf know of an extension is less than what protoc writes about this one.
    extensions: Any = v1.Reason.DESCRIPTOR.values_by_number[number].GetOptions().Extensions
    spec = cast("ReasonSpec", extensions[reason_spec])
    match spec.remedy:
        case "retry_after":
            remedy = v1.Remedy(retry_after=v1.RetryAfter(ms=1000))
        case "request_approval":
            remedy = v1.Remedy(request_approval=v1.RequestApproval())
        case "stop" | "reconcile":
            remedy = v1.Remedy(stop=v1.Stop(why=spec.mend))
        case _:
            remedy = v1.Remedy(fix_arguments=v1.FixArguments(expected=spec.mend))
    return v1.Error(reason=number, message=message, remedy=remedy)


def _reason_number(name: str) -> v1.Reason:
    return cast("v1.Reason", v1.Reason.Value(f"REASON_{name}"))


# --- Below this line: written by tools/regenerate.py from proto/cmdop/v1/error.proto. ---


class MalformedCallError(CmdopError):
    """The call is not well formed or names what does not exist. Mend it and propose it again."""


class RefusedError(CmdopError):
    """Policy or a person refused the call, or could not be asked. Nothing happened."""


class ExecutionError(CmdopError):
    """The host could not run the call, or it ran and failed."""


class ServiceError(CmdopError):
    """The connection, the server or its storage failed."""


class MalformedJsonError(MalformedCallError):
    """The text is not valid JSON or not of the expected shape."""

    reason: ClassVar[str] = "MALFORMED_JSON"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class InvalidArgumentsError(MalformedCallError):
    """The arguments do not fit the tool's JSON Schema."""

    reason: ClassVar[str] = "INVALID_ARGUMENTS"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class InvalidActionError(MalformedCallError):
    """A field of the action other than its arguments is missing or invalid."""

    reason: ClassVar[str] = "INVALID_ACTION"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class InvalidEffectError(MalformedCallError):
    """An expected effect is not in the effect language."""

    reason: ClassVar[str] = "INVALID_EFFECT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class ArgumentsTooLargeError(MalformedCallError):
    """The action is larger than the server accepts."""

    reason: ClassVar[str] = "ARGUMENTS_TOO_LARGE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class MalformedCommandError(MalformedCallError):
    """The shell command cannot be parsed safely."""

    reason: ClassVar[str] = "MALFORMED_COMMAND"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class UnknownToolError(MalformedCallError):
    """No tool of that name is registered."""

    reason: ClassVar[str] = "UNKNOWN_TOOL"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 5


class UnknownHostError(MalformedCallError):
    """No host of that name has ever attached."""

    reason: ClassVar[str] = "UNKNOWN_HOST"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 5


class UndeclaredEffectError(MalformedCallError):
    """The action certainly has an effect that it does not declare."""

    reason: ClassVar[str] = "UNDECLARED_EFFECT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class KeyConflictError(MalformedCallError):
    """The idempotency key was used for a different action."""

    reason: ClassVar[str] = "KEY_CONFLICT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 6


class SchemaRejectedError(MalformedCallError):
    """A tool's schema uses something that cannot be validated safely."""

    reason: ClassVar[str] = "SCHEMA_REJECTED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class UnknownCallError(MalformedCallError):
    """No call has that id."""

    reason: ClassVar[str] = "UNKNOWN_CALL"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 5


class UnknownRunError(MalformedCallError):
    """No run has that id."""

    reason: ClassVar[str] = "UNKNOWN_RUN"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 5


class FloorDeniedError(RefusedError):
    """The shipped floor forbids the effect; no policy can permit it."""

    reason: ClassVar[str] = "FLOOR_DENIED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class PolicyDeniedError(RefusedError):
    """A policy forbids the effect."""

    reason: ClassVar[str] = "POLICY_DENIED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 7


class NotPermittedError(RefusedError):
    """No policy permits the effect."""

    reason: ClassVar[str] = "NOT_PERMITTED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 7


class ApprovalRequiredError(RefusedError):
    """A person must decide first; the call is held."""

    reason: ClassVar[str] = "APPROVAL_REQUIRED"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 9


class ApprovalRejectedError(RefusedError):
    """A person rejected the call."""

    reason: ClassVar[str] = "APPROVAL_REJECTED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class ApprovalExpiredError(RefusedError):
    """Nobody decided in time; silence is a refusal."""

    reason: ClassVar[str] = "APPROVAL_EXPIRED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class ApprovalVoidError(RefusedError):
    """What was approved is no longer what would happen."""

    reason: ClassVar[str] = "APPROVAL_VOID"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class ApprovalNotPendingError(RefusedError):
    """The approval was already decided, used or expired."""

    reason: ClassVar[str] = "APPROVAL_NOT_PENDING"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class UnknownApprovalError(RefusedError):
    """No approval has that id."""

    reason: ClassVar[str] = "UNKNOWN_APPROVAL"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 5


class PolicyError(RefusedError):
    """Policy could not be evaluated; an error is a refusal."""

    reason: ClassVar[str] = "POLICY_ERROR"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 13


class PredictionFailedError(RefusedError):
    """The effects could not be predicted in time; an error is a refusal."""

    reason: ClassVar[str] = "PREDICTION_FAILED"
    retry: ClassVar[Retry] = "after_delay"
    grpc_code: ClassVar[int] = 13


class NotApproverError(RefusedError):
    """This person may not answer the approval, or has done so already."""

    reason: ClassVar[str] = "NOT_APPROVER"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class ConfirmationRequiredError(RefusedError):
    """What is approved cannot be taken back, and its name was not typed."""

    reason: ClassVar[str] = "CONFIRMATION_REQUIRED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 3


class RunTerminatedError(RefusedError):
    """A person ended the run or session; nothing more of it is taken."""

    reason: ClassVar[str] = "RUN_TERMINATED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class SupersededError(RefusedError):
    """The user gave a newer instruction while the call waited for a person."""

    reason: ClassVar[str] = "SUPERSEDED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class ShadowOnlyError(RefusedError):
    """The agent's level is shadow: the action was previewed and is never committed."""

    reason: ClassVar[str] = "SHADOW_ONLY"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class FrozenError(RefusedError):
    """A person froze the host: nothing changes on it until a person lifts that."""

    reason: ClassVar[str] = "FROZEN"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class UnknownFreezeError(RefusedError):
    """No freeze of that id is in force."""

    reason: ClassVar[str] = "UNKNOWN_FREEZE"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 5


class UnknownGrantError(RefusedError):
    """No standing grant of that id is in force."""

    reason: ClassVar[str] = "UNKNOWN_GRANT"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 5


class UnauthenticatedError(RefusedError):
    """This server knows its approvers by their tokens, and the request has none that is theirs."""

    reason: ClassVar[str] = "UNAUTHENTICATED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 16


class DeniedBeforeError(RefusedError):
    """The effect was refused to this run or session before; another way to it is refused, too."""

    reason: ClassVar[str] = "DENIED_BEFORE"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class OwnApprovalError(RefusedError):
    """An agent tried to decide on a call of its own."""

    reason: ClassVar[str] = "OWN_APPROVAL"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class HostUnavailableError(ExecutionError):
    """The host is not attached; nothing was sent to it."""

    reason: ClassVar[str] = "HOST_UNAVAILABLE"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 14


class PreviewUnavailableError(ExecutionError):
    """The host cannot run a command on a private layer and never runs one unconfined."""

    reason: ClassVar[str] = "PREVIEW_UNAVAILABLE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class PermitInvalidError(ExecutionError):
    """The host refused the permit: forged, expired or for something else."""

    reason: ClassVar[str] = "PERMIT_INVALID"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 7


class CommandFailedError(ExecutionError):
    """The tool ran and reported failure."""

    reason: ClassVar[str] = "COMMAND_FAILED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class CommandTimedOutError(ExecutionError):
    """The command outlived its time and was killed with its descendants."""

    reason: ClassVar[str] = "TIMED_OUT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 4


class CallCancelledError(ExecutionError):
    """The call was cancelled."""

    reason: ClassVar[str] = "CANCELLED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 1


class EffectMissingError(ExecutionError):
    """The tool ran, but an expected effect was not observed within its counts."""

    reason: ClassVar[str] = "EFFECT_MISSING"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class EffectNotPermittedError(ExecutionError):
    """The preview showed an effect beyond the permit; it was discarded."""

    reason: ClassVar[str] = "EFFECT_NOT_PERMITTED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 7


class CommitConflictError(ExecutionError):
    """The machine changed between preview and commit; nothing was applied."""

    reason: ClassVar[str] = "COMMIT_CONFLICT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 10


class PreviewLostError(ExecutionError):
    """The host no longer holds the preview; nothing was applied."""

    reason: ClassVar[str] = "PREVIEW_LOST"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class UnsupportedChangeError(ExecutionError):
    """The preview holds a change that cannot be committed exactly; nothing was applied."""

    reason: ClassVar[str] = "UNSUPPORTED_CHANGE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class PathNotFoundError(ExecutionError):
    """The path does not exist."""

    reason: ClassVar[str] = "PATH_NOT_FOUND"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 5


class PathExistsError(ExecutionError):
    """The path exists already."""

    reason: ClassVar[str] = "PATH_EXISTS"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 6


class PathNotUsableError(ExecutionError):
    """The path is of the wrong type, leads through a link or may not be accessed."""

    reason: ClassVar[str] = "PATH_NOT_USABLE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class ContentChangedError(ExecutionError):
    """The file is not the one that the caller read."""

    reason: ClassVar[str] = "CONTENT_CHANGED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 10


class HostStorageFullError(ExecutionError):
    """The host ran out of space; nothing was applied."""

    reason: ClassVar[str] = "HOST_STORAGE_FULL"
    retry: ClassVar[Retry] = "after_delay"
    grpc_code: ClassVar[int] = 8


class OutcomeUnknownError(ExecutionError):
    """Nobody can tell whether the effects happened."""

    reason: ClassVar[str] = "OUTCOME_UNKNOWN"
    retry: ClassVar[Retry] = "reconcile"
    grpc_code: ClassVar[int] = 2


class HostError(ExecutionError):
    """The host failed before the tool started; nothing was applied."""

    reason: ClassVar[str] = "HOST_ERROR"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 13


class NotRestorableError(ExecutionError):
    """What the call changed can no longer be undone; nothing was restored."""

    reason: ClassVar[str] = "NOT_RESTORABLE"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class DirectUnavailableError(ExecutionError):
    """The host cannot confine the command to its permit and never runs one unconfined; nothing ran."""

    reason: ClassVar[str] = "DIRECT_UNAVAILABLE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class LimitExceededError(ExecutionError):
    """The command used more than its arguments allow it and was ended with all its processes."""

    reason: ClassVar[str] = "LIMIT_EXCEEDED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 8


class DeployLockedError(ExecutionError):
    """Another deployment of the same root is under way; nothing was applied."""

    reason: ClassVar[str] = "DEPLOY_LOCKED"
    retry: ClassVar[Retry] = "after_delay"
    grpc_code: ClassVar[int] = 10


class ReleaseConflictError(ExecutionError):
    """A release of that id exists with other content; nothing was applied."""

    reason: ClassVar[str] = "RELEASE_CONFLICT"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 6


class HealthCheckFailedError(ExecutionError):
    """A health check failed; the message and the result say which release is live."""

    reason: ClassVar[str] = "HEALTH_CHECK_FAILED"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class ResultLostError(ExecutionError):
    """The host died while the tool ran; its effects were found on the machine, and what it returned is lost."""

    reason: ClassVar[str] = "RESULT_LOST"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 15


class UnsupportedProtocolError(ServiceError):
    """No protocol version is spoken by both sides."""

    reason: ClassVar[str] = "UNSUPPORTED_PROTOCOL"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


class FrameTooLargeError(ServiceError):
    """A message is larger than the receiver accepts."""

    reason: ClassVar[str] = "FRAME_TOO_LARGE"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 8


class ProtocolViolationError(ServiceError):
    """A frame came that the protocol does not allow at this point."""

    reason: ClassVar[str] = "PROTOCOL_VIOLATION"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 3


class SlowConsumerError(ServiceError):
    """The client did not read in time and its session was cut; the call goes on."""

    reason: ClassVar[str] = "SLOW_CONSUMER"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 8


class LoadShedError(ServiceError):
    """The server has as much work as it accepts."""

    reason: ClassVar[str] = "LOAD_SHED"
    retry: ClassVar[Retry] = "after_delay"
    grpc_code: ClassVar[int] = 8


class DrainingError(ServiceError):
    """The server is stopping and takes no new calls."""

    reason: ClassVar[str] = "DRAINING"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 14


class StorageError(ServiceError):
    """The ledger could not be written; nothing was executed."""

    reason: ClassVar[str] = "STORAGE_ERROR"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 14


class StorageFullError(ServiceError):
    """The server's disk is full; nothing was executed, and new calls are taken as soon as there is room."""

    reason: ClassVar[str] = "STORAGE_FULL"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 8


class LedgerCorruptError(ServiceError):
    """The ledger's chain is broken at the place named."""

    reason: ClassVar[str] = "LEDGER_CORRUPT"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 15


class UnreachableError(ServiceError):
    """The server cannot be reached."""

    reason: ClassVar[str] = "UNREACHABLE"
    retry: ClassVar[Retry] = "same_key"
    grpc_code: ClassVar[int] = 14


class InternalError(ServiceError):
    """A defect of cmdop."""

    reason: ClassVar[str] = "INTERNAL"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 13


class InvalidConfigurationError(ServiceError):
    """A configuration or policy file is invalid; the process does not start with it."""

    reason: ClassVar[str] = "INVALID_CONFIGURATION"
    retry: ClassVar[Retry] = "after_fix"
    grpc_code: ClassVar[int] = 9


class CallModifiedError(RefusedError):
    """A person put another action in the call's place."""

    reason: ClassVar[str] = "CALL_MODIFIED"
    retry: ClassVar[Retry] = "never"
    grpc_code: ClassVar[int] = 9


BY_REASON: Final[Mapping[str, type[CmdopError]]] = {
    kind.reason: kind
    for kind in (
        MalformedJsonError,
        InvalidArgumentsError,
        InvalidActionError,
        InvalidEffectError,
        ArgumentsTooLargeError,
        MalformedCommandError,
        UnknownToolError,
        UnknownHostError,
        UndeclaredEffectError,
        KeyConflictError,
        SchemaRejectedError,
        UnknownCallError,
        UnknownRunError,
        FloorDeniedError,
        PolicyDeniedError,
        NotPermittedError,
        ApprovalRequiredError,
        ApprovalRejectedError,
        ApprovalExpiredError,
        ApprovalVoidError,
        ApprovalNotPendingError,
        UnknownApprovalError,
        PolicyError,
        PredictionFailedError,
        NotApproverError,
        ConfirmationRequiredError,
        RunTerminatedError,
        SupersededError,
        ShadowOnlyError,
        FrozenError,
        UnknownFreezeError,
        UnknownGrantError,
        UnauthenticatedError,
        DeniedBeforeError,
        OwnApprovalError,
        HostUnavailableError,
        PreviewUnavailableError,
        PermitInvalidError,
        CommandFailedError,
        CommandTimedOutError,
        CallCancelledError,
        EffectMissingError,
        EffectNotPermittedError,
        CommitConflictError,
        PreviewLostError,
        UnsupportedChangeError,
        PathNotFoundError,
        PathExistsError,
        PathNotUsableError,
        ContentChangedError,
        HostStorageFullError,
        OutcomeUnknownError,
        HostError,
        NotRestorableError,
        DirectUnavailableError,
        LimitExceededError,
        DeployLockedError,
        ReleaseConflictError,
        HealthCheckFailedError,
        ResultLostError,
        UnsupportedProtocolError,
        FrameTooLargeError,
        ProtocolViolationError,
        SlowConsumerError,
        LoadShedError,
        DrainingError,
        StorageError,
        StorageFullError,
        LedgerCorruptError,
        UnreachableError,
        InternalError,
        InvalidConfigurationError,
        CallModifiedError,
    )
}
"""The class of each reason, by its text form."""
