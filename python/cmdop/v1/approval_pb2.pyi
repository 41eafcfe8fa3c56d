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

class VoidCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOID_CAUSE_UNSPECIFIED: _ClassVar[VoidCause]
    VOID_CAUSE_POLICY_CHANGED: _ClassVar[VoidCause]
    VOID_CAUSE_STATE_CHANGED: _ClassVar[VoidCause]
    VOID_CAUSE_MODIFIED: _ClassVar[VoidCause]
    VOID_CAUSE_SUPERSEDED: _ClassVar[VoidCause]
    VOID_CAUSE_TERMINATED: _ClassVar[VoidCause]
    VOID_CAUSE_CALL_ENDED: _ClassVar[VoidCause]

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
VOID_CAUSE_UNSPECIFIED: VoidCause
VOID_CAUSE_POLICY_CHANGED: VoidCause
VOID_CAUSE_STATE_CHANGED: VoidCause
VOID_CAUSE_MODIFIED: VoidCause
VOID_CAUSE_SUPERSEDED: VoidCause
VOID_CAUSE_TERMINATED: VoidCause
VOID_CAUSE_CALL_ENDED: VoidCause
APPROVAL_SUBJECT_UNSPECIFIED: ApprovalSubject
APPROVAL_SUBJECT_EXECUTION: ApprovalSubject
APPROVAL_SUBJECT_DIFF: ApprovalSubject

class Approval(_message.Message):
    __slots__ = ("approval_id", "call_id", "subject", "status", "digest", "action", "requester", "why", "policies", "effects", "diff", "beyond", "created_at", "expires_at", "decision", "quorums", "answers", "void_cause", "irreversible", "confirm", "policy_version", "author", "abridged")
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
    QUORUMS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    VOID_CAUSE_FIELD_NUMBER: _ClassVar[int]
    IRREVERSIBLE_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    ABRIDGED_FIELD_NUMBER: _ClassVar[int]
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
    quorums: _containers.RepeatedCompositeFieldContainer[Quorum]
    answers: _containers.RepeatedCompositeFieldContainer[ApprovalDecision]
    void_cause: VoidCause
    irreversible: _containers.RepeatedScalarFieldContainer[str]
    confirm: str
    policy_version: str
    author: str
    abridged: _containers.RepeatedCompositeFieldContainer[_action_pb2.Abridged]
    def __init__(self, approval_id: _Optional[str] = ..., call_id: _Optional[str] = ..., subject: _Optional[_Union[ApprovalSubject, str]] = ..., status: _Optional[_Union[ApprovalStatus, str]] = ..., digest: _Optional[str] = ..., action: _Optional[_Union[_action_pb2.Action, _Mapping]] = ..., requester: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[_error_pb2.PolicyRef, _Mapping]]] = ..., effects: _Optional[_Iterable[_Union[_effect_pb2.PermittedEffect, _Mapping]]] = ..., diff: _Optional[_Union[_effect_pb2.Observation, _Mapping]] = ..., beyond: _Optional[_Iterable[_Union[_effect_pb2.SideEffect, _Mapping]]] = ..., created_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., decision: _Optional[_Union[ApprovalDecision, _Mapping]] = ..., quorums: _Optional[_Iterable[_Union[Quorum, _Mapping]]] = ..., answers: _Optional[_Iterable[_Union[ApprovalDecision, _Mapping]]] = ..., void_cause: _Optional[_Union[VoidCause, str]] = ..., irreversible: _Optional[_Iterable[str]] = ..., confirm: _Optional[str] = ..., policy_version: _Optional[str] = ..., author: _Optional[str] = ..., abridged: _Optional[_Iterable[_Union[_action_pb2.Abridged, _Mapping]]] = ...) -> None: ...

class Quorum(_message.Message):
    __slots__ = ("policy", "needed", "chain", "step", "expires_at", "approved_by")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    needed: int
    chain: _containers.RepeatedCompositeFieldContainer[ApproverStep]
    step: int
    expires_at: int
    approved_by: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, policy: _Optional[str] = ..., needed: _Optional[int] = ..., chain: _Optional[_Iterable[_Union[ApproverStep, _Mapping]]] = ..., step: _Optional[int] = ..., expires_at: _Optional[int] = ..., approved_by: _Optional[_Iterable[str]] = ...) -> None: ...

class ApproverStep(_message.Message):
    __slots__ = ("group", "ttl_ms")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    group: str
    ttl_ms: int
    def __init__(self, group: _Optional[str] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class ApprovalDecision(_message.Message):
    __slots__ = ("verdict", "approver", "comment", "decided_at", "action")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    verdict: ApprovalVerdict
    approver: str
    comment: str
    decided_at: int
    action: _action_pb2.Action
    def __init__(self, verdict: _Optional[_Union[ApprovalVerdict, str]] = ..., approver: _Optional[str] = ..., comment: _Optional[str] = ..., decided_at: _Optional[int] = ..., action: _Optional[_Union[_action_pb2.Action, _Mapping]] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("status", "call_id", "limit", "before_approval_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    status: _containers.RepeatedScalarFieldContainer[ApprovalStatus]
    call_id: str
    limit: int
    before_approval_id: str
    def __init__(self, status: _Optional[_Iterable[_Union[ApprovalStatus, str]]] = ..., call_id: _Optional[str] = ..., limit: _Optional[int] = ..., before_approval_id: _Optional[str] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "next_before_approval_id")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEFORE_APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    next_before_approval_id: str
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., next_before_approval_id: _Optional[str] = ...) -> None: ...

class GetApprovalRequest(_message.Message):
    __slots__ = ("approval_id",)
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    def __init__(self, approval_id: _Optional[str] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("approval_id", "verdict", "approver", "comment", "digest", "confirm", "action", "agent")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    verdict: ApprovalVerdict
    approver: str
    comment: str
    digest: str
    confirm: str
    action: _action_pb2.Action
    agent: str
    def __init__(self, approval_id: _Optional[str] = ..., verdict: _Optional[_Union[ApprovalVerdict, str]] = ..., approver: _Optional[str] = ..., comment: _Optional[str] = ..., digest: _Optional[str] = ..., confirm: _Optional[str] = ..., action: _Optional[_Union[_action_pb2.Action, _Mapping]] = ..., agent: _Optional[str] = ...) -> None: ...

class WatchApprovalsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
