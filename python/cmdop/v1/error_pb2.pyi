from cmdop.v1 import effect_pb2 as _effect_pb2
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetryClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_CLASS_UNSPECIFIED: _ClassVar[RetryClass]
    RETRY_CLASS_NEVER: _ClassVar[RetryClass]
    RETRY_CLASS_AFTER_FIX: _ClassVar[RetryClass]
    RETRY_CLASS_AFTER_DELAY: _ClassVar[RetryClass]
    RETRY_CLASS_SAME_KEY: _ClassVar[RetryClass]
    RETRY_CLASS_RECONCILE: _ClassVar[RetryClass]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_MALFORMED_JSON: _ClassVar[Reason]
    REASON_INVALID_ARGUMENTS: _ClassVar[Reason]
    REASON_INVALID_ACTION: _ClassVar[Reason]
    REASON_INVALID_EFFECT: _ClassVar[Reason]
    REASON_ARGUMENTS_TOO_LARGE: _ClassVar[Reason]
    REASON_MALFORMED_COMMAND: _ClassVar[Reason]
    REASON_UNKNOWN_TOOL: _ClassVar[Reason]
    REASON_UNKNOWN_HOST: _ClassVar[Reason]
    REASON_UNDECLARED_EFFECT: _ClassVar[Reason]
    REASON_KEY_CONFLICT: _ClassVar[Reason]
    REASON_SCHEMA_REJECTED: _ClassVar[Reason]
    REASON_UNKNOWN_CALL: _ClassVar[Reason]
    REASON_UNKNOWN_RUN: _ClassVar[Reason]
    REASON_FLOOR_DENIED: _ClassVar[Reason]
    REASON_POLICY_DENIED: _ClassVar[Reason]
    REASON_NOT_PERMITTED: _ClassVar[Reason]
    REASON_APPROVAL_REQUIRED: _ClassVar[Reason]
    REASON_APPROVAL_REJECTED: _ClassVar[Reason]
    REASON_APPROVAL_EXPIRED: _ClassVar[Reason]
    REASON_APPROVAL_VOID: _ClassVar[Reason]
    REASON_APPROVAL_NOT_PENDING: _ClassVar[Reason]
    REASON_UNKNOWN_APPROVAL: _ClassVar[Reason]
    REASON_POLICY_ERROR: _ClassVar[Reason]
    REASON_PREDICTION_FAILED: _ClassVar[Reason]
    REASON_NOT_APPROVER: _ClassVar[Reason]
    REASON_CONFIRMATION_REQUIRED: _ClassVar[Reason]
    REASON_RUN_TERMINATED: _ClassVar[Reason]
    REASON_SUPERSEDED: _ClassVar[Reason]
    REASON_SHADOW_ONLY: _ClassVar[Reason]
    REASON_FROZEN: _ClassVar[Reason]
    REASON_UNKNOWN_FREEZE: _ClassVar[Reason]
    REASON_UNKNOWN_GRANT: _ClassVar[Reason]
    REASON_UNAUTHENTICATED: _ClassVar[Reason]
    REASON_DENIED_BEFORE: _ClassVar[Reason]
    REASON_OWN_APPROVAL: _ClassVar[Reason]
    REASON_HOST_UNAVAILABLE: _ClassVar[Reason]
    REASON_PREVIEW_UNAVAILABLE: _ClassVar[Reason]
    REASON_PERMIT_INVALID: _ClassVar[Reason]
    REASON_COMMAND_FAILED: _ClassVar[Reason]
    REASON_TIMED_OUT: _ClassVar[Reason]
    REASON_CANCELLED: _ClassVar[Reason]
    REASON_EFFECT_MISSING: _ClassVar[Reason]
    REASON_EFFECT_NOT_PERMITTED: _ClassVar[Reason]
    REASON_COMMIT_CONFLICT: _ClassVar[Reason]
    REASON_PREVIEW_LOST: _ClassVar[Reason]
    REASON_UNSUPPORTED_CHANGE: _ClassVar[Reason]
    REASON_PATH_NOT_FOUND: _ClassVar[Reason]
    REASON_PATH_EXISTS: _ClassVar[Reason]
    REASON_PATH_NOT_USABLE: _ClassVar[Reason]
    REASON_CONTENT_CHANGED: _ClassVar[Reason]
    REASON_HOST_STORAGE_FULL: _ClassVar[Reason]
    REASON_OUTCOME_UNKNOWN: _ClassVar[Reason]
    REASON_HOST_ERROR: _ClassVar[Reason]
    REASON_NOT_RESTORABLE: _ClassVar[Reason]
    REASON_DIRECT_UNAVAILABLE: _ClassVar[Reason]
    REASON_LIMIT_EXCEEDED: _ClassVar[Reason]
    REASON_DEPLOY_LOCKED: _ClassVar[Reason]
    REASON_RELEASE_CONFLICT: _ClassVar[Reason]
    REASON_HEALTH_CHECK_FAILED: _ClassVar[Reason]
    REASON_RESULT_LOST: _ClassVar[Reason]
    REASON_UNSUPPORTED_PROTOCOL: _ClassVar[Reason]
    REASON_FRAME_TOO_LARGE: _ClassVar[Reason]
    REASON_PROTOCOL_VIOLATION: _ClassVar[Reason]
    REASON_SLOW_CONSUMER: _ClassVar[Reason]
    REASON_LOAD_SHED: _ClassVar[Reason]
    REASON_DRAINING: _ClassVar[Reason]
    REASON_STORAGE_ERROR: _ClassVar[Reason]
    REASON_STORAGE_FULL: _ClassVar[Reason]
    REASON_LEDGER_CORRUPT: _ClassVar[Reason]
    REASON_UNREACHABLE: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]
    REASON_INVALID_CONFIGURATION: _ClassVar[Reason]
    REASON_CALL_MODIFIED: _ClassVar[Reason]
RETRY_CLASS_UNSPECIFIED: RetryClass
RETRY_CLASS_NEVER: RetryClass
RETRY_CLASS_AFTER_FIX: RetryClass
RETRY_CLASS_AFTER_DELAY: RetryClass
RETRY_CLASS_SAME_KEY: RetryClass
RETRY_CLASS_RECONCILE: RetryClass
REASON_UNSPECIFIED: Reason
REASON_MALFORMED_JSON: Reason
REASON_INVALID_ARGUMENTS: Reason
REASON_INVALID_ACTION: Reason
REASON_INVALID_EFFECT: Reason
REASON_ARGUMENTS_TOO_LARGE: Reason
REASON_MALFORMED_COMMAND: Reason
REASON_UNKNOWN_TOOL: Reason
REASON_UNKNOWN_HOST: Reason
REASON_UNDECLARED_EFFECT: Reason
REASON_KEY_CONFLICT: Reason
REASON_SCHEMA_REJECTED: Reason
REASON_UNKNOWN_CALL: Reason
REASON_UNKNOWN_RUN: Reason
REASON_FLOOR_DENIED: Reason
REASON_POLICY_DENIED: Reason
REASON_NOT_PERMITTED: Reason
REASON_APPROVAL_REQUIRED: Reason
REASON_APPROVAL_REJECTED: Reason
REASON_APPROVAL_EXPIRED: Reason
REASON_APPROVAL_VOID: Reason
REASON_APPROVAL_NOT_PENDING: Reason
REASON_UNKNOWN_APPROVAL: Reason
REASON_POLICY_ERROR: Reason
REASON_PREDICTION_FAILED: Reason
REASON_NOT_APPROVER: Reason
REASON_CONFIRMATION_REQUIRED: Reason
REASON_RUN_TERMINATED: Reason
REASON_SUPERSEDED: Reason
REASON_SHADOW_ONLY: Reason
REASON_FROZEN: Reason
REASON_UNKNOWN_FREEZE: Reason
REASON_UNKNOWN_GRANT: Reason
REASON_UNAUTHENTICATED: Reason
REASON_DENIED_BEFORE: Reason
REASON_OWN_APPROVAL: Reason
REASON_HOST_UNAVAILABLE: Reason
REASON_PREVIEW_UNAVAILABLE: Reason
REASON_PERMIT_INVALID: Reason
REASON_COMMAND_FAILED: Reason
REASON_TIMED_OUT: Reason
REASON_CANCELLED: Reason
REASON_EFFECT_MISSING: Reason
REASON_EFFECT_NOT_PERMITTED: Reason
REASON_COMMIT_CONFLICT: Reason
REASON_PREVIEW_LOST: Reason
REASON_UNSUPPORTED_CHANGE: Reason
REASON_PATH_NOT_FOUND: Reason
REASON_PATH_EXISTS: Reason
REASON_PATH_NOT_USABLE: Reason
REASON_CONTENT_CHANGED: Reason
REASON_HOST_STORAGE_FULL: Reason
REASON_OUTCOME_UNKNOWN: Reason
REASON_HOST_ERROR: Reason
REASON_NOT_RESTORABLE: Reason
REASON_DIRECT_UNAVAILABLE: Reason
REASON_LIMIT_EXCEEDED: Reason
REASON_DEPLOY_LOCKED: Reason
REASON_RELEASE_CONFLICT: Reason
REASON_HEALTH_CHECK_FAILED: Reason
REASON_RESULT_LOST: Reason
REASON_UNSUPPORTED_PROTOCOL: Reason
REASON_FRAME_TOO_LARGE: Reason
REASON_PROTOCOL_VIOLATION: Reason
REASON_SLOW_CONSUMER: Reason
REASON_LOAD_SHED: Reason
REASON_DRAINING: Reason
REASON_STORAGE_ERROR: Reason
REASON_STORAGE_FULL: Reason
REASON_LEDGER_CORRUPT: Reason
REASON_UNREACHABLE: Reason
REASON_INTERNAL: Reason
REASON_INVALID_CONFIGURATION: Reason
REASON_CALL_MODIFIED: Reason
REASON_SPEC_FIELD_NUMBER: _ClassVar[int]
reason_spec: _descriptor.FieldDescriptor

class ReasonSpec(_message.Message):
    __slots__ = ("grpc_code", "retry", "summary", "remedy", "mend", "mechanical")
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    MEND_FIELD_NUMBER: _ClassVar[int]
    MECHANICAL_FIELD_NUMBER: _ClassVar[int]
    grpc_code: int
    retry: RetryClass
    summary: str
    remedy: str
    mend: str
    mechanical: bool
    def __init__(self, grpc_code: _Optional[int] = ..., retry: _Optional[_Union[RetryClass, str]] = ..., summary: _Optional[str] = ..., remedy: _Optional[str] = ..., mend: _Optional[str] = ..., mechanical: _Optional[bool] = ...) -> None: ...

class Remedy(_message.Message):
    __slots__ = ("fix_arguments", "narrow_effect", "declare_effect", "request_approval", "use_tool", "retry_after", "reconcile", "stop", "new_key")
    FIX_ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    NARROW_EFFECT_FIELD_NUMBER: _ClassVar[int]
    DECLARE_EFFECT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    USE_TOOL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    NEW_KEY_FIELD_NUMBER: _ClassVar[int]
    fix_arguments: FixArguments
    narrow_effect: NarrowEffect
    declare_effect: DeclareEffect
    request_approval: RequestApproval
    use_tool: UseTool
    retry_after: RetryAfter
    reconcile: Reconcile
    stop: Stop
    new_key: bool
    def __init__(self, fix_arguments: _Optional[_Union[FixArguments, _Mapping]] = ..., narrow_effect: _Optional[_Union[NarrowEffect, _Mapping]] = ..., declare_effect: _Optional[_Union[DeclareEffect, _Mapping]] = ..., request_approval: _Optional[_Union[RequestApproval, _Mapping]] = ..., use_tool: _Optional[_Union[UseTool, _Mapping]] = ..., retry_after: _Optional[_Union[RetryAfter, _Mapping]] = ..., reconcile: _Optional[_Union[Reconcile, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., new_key: _Optional[bool] = ...) -> None: ...

class FixArguments(_message.Message):
    __slots__ = ("path", "expected", "value_json", "remove", "rename")
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    RENAME_FIELD_NUMBER: _ClassVar[int]
    path: str
    expected: str
    value_json: str
    remove: bool
    rename: str
    def __init__(self, path: _Optional[str] = ..., expected: _Optional[str] = ..., value_json: _Optional[str] = ..., remove: _Optional[bool] = ..., rename: _Optional[str] = ...) -> None: ...

class NarrowEffect(_message.Message):
    __slots__ = ("predicted", "declared", "allowed_beneath", "refused")
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_BENEATH_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    predicted: str
    declared: str
    allowed_beneath: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, predicted: _Optional[str] = ..., declared: _Optional[str] = ..., allowed_beneath: _Optional[_Iterable[str]] = ..., refused: _Optional[_Iterable[int]] = ...) -> None: ...

class DeclareEffect(_message.Message):
    __slots__ = ("effects",)
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.ExpectedEffect]
    def __init__(self, effects: _Optional[_Iterable[_Union[_effect_pb2.ExpectedEffect, _Mapping]]] = ...) -> None: ...

class RequestApproval(_message.Message):
    __slots__ = ("approval_id",)
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    def __init__(self, approval_id: _Optional[str] = ...) -> None: ...

class UseTool(_message.Message):
    __slots__ = ("name", "same", "arguments_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    same: bool
    arguments_json: str
    def __init__(self, name: _Optional[str] = ..., same: _Optional[bool] = ..., arguments_json: _Optional[str] = ...) -> None: ...

class RetryAfter(_message.Message):
    __slots__ = ("ms", "new_key")
    MS_FIELD_NUMBER: _ClassVar[int]
    NEW_KEY_FIELD_NUMBER: _ClassVar[int]
    ms: int
    new_key: bool
    def __init__(self, ms: _Optional[int] = ..., new_key: _Optional[bool] = ...) -> None: ...

class Reconcile(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    def __init__(self, call_id: _Optional[str] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class Violation(_message.Message):
    __slots__ = ("reason", "pointer", "expected", "found", "remedy")
    REASON_FIELD_NUMBER: _ClassVar[int]
    POINTER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    pointer: str
    expected: str
    found: str
    remedy: Remedy
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., pointer: _Optional[str] = ..., expected: _Optional[str] = ..., found: _Optional[str] = ..., remedy: _Optional[_Union[Remedy, _Mapping]] = ...) -> None: ...

class PolicyRef(_message.Message):
    __slots__ = ("id", "reason", "remedy", "effect")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    remedy: str
    effect: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., remedy: _Optional[str] = ..., effect: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("reason", "message", "remedy", "violations", "policies", "call_id", "refused")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    message: str
    remedy: Remedy
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    policies: _containers.RepeatedCompositeFieldContainer[PolicyRef]
    call_id: str
    refused: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., remedy: _Optional[_Union[Remedy, _Mapping]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., policies: _Optional[_Iterable[_Union[PolicyRef, _Mapping]]] = ..., call_id: _Optional[str] = ..., refused: _Optional[_Iterable[str]] = ...) -> None: ...
