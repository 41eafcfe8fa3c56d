from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from cmdop.v1 import error_pb2 as _error_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApprovalVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_VERDICT_UNSPECIFIED: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_APPROVE: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_MODIFY: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_REJECT: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_ESCALATE: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_TERMINATE: _ClassVar[ApprovalVerdict]

class ApprovalStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_STATUS_UNSPECIFIED: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_PENDING: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_APPROVED: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_REJECTED: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_EXPIRED: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_USED: _ClassVar[ApprovalStatus]
    APPROVAL_STATUS_VOID: _ClassVar[ApprovalStatus]

class ApprovalSubject(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_SUBJECT_UNSPECIFIED: _ClassVar[ApprovalSubject]
    APPROVAL_SUBJECT_EXECUTION: _ClassVar[ApprovalSubject]
    APPROVAL_SUBJECT_DIFF: _ClassVar[ApprovalSubject]
APPROVAL_VERDICT_UNSPECIFIED: ApprovalVerdict
APPROVAL_VERDICT_APPROVE: ApprovalVerdict
APPROVAL_VERDICT_MODIFY: ApprovalVerdict
APPROVAL_VERDICT_REJECT: ApprovalVerdict
APPROVAL_VERDICT_ESCALATE: ApprovalVerdict
APPROVAL_VERDICT_TERMINATE: ApprovalVerdict
APPROVAL_STATUS_UNSPECIFIED: ApprovalStatus
APPROVAL_STATUS_PENDING: ApprovalStatus
APPROVAL_STATUS_APPROVED: ApprovalStatus
APPROVAL_STATUS_REJECTED: ApprovalStatus
APPROVAL_STATUS_EXPIRED: ApprovalStatus
APPROVAL_STATUS_USED: ApprovalStatus
APPROVAL_STATUS_VOID: ApprovalStatus
APPROVAL_SUBJECT_UNSPECIFIED: ApprovalSubject
APPROVAL_SUBJECT_EXECUTION: ApprovalSubject
APPROVAL_SUBJECT_DIFF: ApprovalSubject

class Approval(_message.Message):
    __slots__ = ("approval_id", "call_id", "subject", "status", "digest", "action", "requester", "why", "policies", "effects", "diff", "beyond", "created_at", "expires_at", "decision")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    call_id: str
    subject: ApprovalSubject
    status: ApprovalStatus
    digest: str
    action: _action_pb2.Action
    requester: _action_pb2.Actor
    why: str
    policies: _containers.RepeatedCompositeFieldContainer[_error_pb2.PolicyRef]
    effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.PermittedEffect]
    diff: _effect_pb2.Observation
    beyond: _containers.RepeatedCompositeFieldContainer[_effect_pb2.SideEffect]
    created_at: int
    expires_at: int
    decision: ApprovalDecision
    def __init__(self, approval_id: _Optional[str] = ..., call_id: _Optional[str] = ..., subject: _Optional[_Union[ApprovalSubject, str]] = ..., status: _Optional[_Union[ApprovalStatus, str]] = ..., digest: _Optional[str] = ..., action: _Optional[_Union[_action_pb2.Action, _Mapping]] = ..., requester: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[_error_pb2.PolicyRef, _Mapping]]] = ..., effects: _Optional[_Iterable[_Union[_effect_pb2.PermittedEffect, _Mapping]]] = ..., diff: _Optional[_Union[_effect_pb2.Observation, _Mapping]] = ..., beyond: _Optional[_Iterable[_Union[_effect_pb2.SideEffect, _Mapping]]] = ..., created_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., decision: _Optional[_Union[ApprovalDecision, _Mapping]] = ...) -> None: ...

class ApprovalDecision(_message.Message):
    __slots__ = ("verdict", "approver", "comment", "decided_at")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    verdict: ApprovalVerdict
    approver: str
    comment: str
    decided_at: int
    def __init__(self, verdict: _Optional[_Union[ApprovalVerdict, str]] = ..., approver: _Optional[str] = ..., comment: _Optional[str] = ..., decided_at: _Optional[int] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("status", "call_id", "limit")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    status: _containers.RepeatedScalarFieldContainer[ApprovalStatus]
    call_id: str
    limit: int
    def __init__(self, status: _Optional[_Iterable[_Union[ApprovalStatus, str]]] = ..., call_id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals",)
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ...) -> None: ...

class GetApprovalRequest(_message.Message):
    __slots__ = ("approval_id",)
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    def __init__(self, approval_id: _Optional[str] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("approval_id", "verdict", "approver", "comment", "digest")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    verdict: ApprovalVerdict
    approver: str
    comment: str
    digest: str
    def __init__(self, approval_id: _Optional[str] = ..., verdict: _Optional[_Union[ApprovalVerdict, str]] = ..., approver: _Optional[str] = ..., comment: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class WatchApprovalsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
