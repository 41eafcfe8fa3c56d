from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import approval_pb2 as _approval_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from cmdop.v1 import error_pb2 as _error_pb2
from cmdop.v1 import permit_pb2 as _permit_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_STATE_UNSPECIFIED: _ClassVar[CallState]
    CALL_STATE_PROPOSED: _ClassVar[CallState]
    CALL_STATE_HELD: _ClassVar[CallState]
    CALL_STATE_PERMITTED: _ClassVar[CallState]
    CALL_STATE_RUNNING: _ClassVar[CallState]
    CALL_STATE_PREVIEWED: _ClassVar[CallState]
    CALL_STATE_DIFF_HELD: _ClassVar[CallState]
    CALL_STATE_COMMITTING: _ClassVar[CallState]
    CALL_STATE_APPLIED: _ClassVar[CallState]
    CALL_STATE_NOT_APPLIED: _ClassVar[CallState]
    CALL_STATE_UNKNOWN: _ClassVar[CallState]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_APPLIED: _ClassVar[Outcome]
    OUTCOME_NOT_APPLIED: _ClassVar[Outcome]
    OUTCOME_UNKNOWN: _ClassVar[Outcome]

class PolicyEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_EFFECT_UNSPECIFIED: _ClassVar[PolicyEffect]
    POLICY_EFFECT_ALLOW: _ClassVar[PolicyEffect]
    POLICY_EFFECT_DENY: _ClassVar[PolicyEffect]
    POLICY_EFFECT_REQUIRE_APPROVAL: _ClassVar[PolicyEffect]

class AutonomyLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTONOMY_LEVEL_UNSPECIFIED: _ClassVar[AutonomyLevel]
    AUTONOMY_LEVEL_SHADOW: _ClassVar[AutonomyLevel]
    AUTONOMY_LEVEL_ASK: _ClassVar[AutonomyLevel]
    AUTONOMY_LEVEL_PREVIEW: _ClassVar[AutonomyLevel]
    AUTONOMY_LEVEL_AUTO: _ClassVar[AutonomyLevel]

class OutputStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_STREAM_UNSPECIFIED: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDOUT: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDERR: _ClassVar[OutputStream]
CALL_STATE_UNSPECIFIED: CallState
CALL_STATE_PROPOSED: CallState
CALL_STATE_HELD: CallState
CALL_STATE_PERMITTED: CallState
CALL_STATE_RUNNING: CallState
CALL_STATE_PREVIEWED: CallState
CALL_STATE_DIFF_HELD: CallState
CALL_STATE_COMMITTING: CallState
CALL_STATE_APPLIED: CallState
CALL_STATE_NOT_APPLIED: CallState
CALL_STATE_UNKNOWN: CallState
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_APPLIED: Outcome
OUTCOME_NOT_APPLIED: Outcome
OUTCOME_UNKNOWN: Outcome
POLICY_EFFECT_UNSPECIFIED: PolicyEffect
POLICY_EFFECT_ALLOW: PolicyEffect
POLICY_EFFECT_DENY: PolicyEffect
POLICY_EFFECT_REQUIRE_APPROVAL: PolicyEffect
AUTONOMY_LEVEL_UNSPECIFIED: AutonomyLevel
AUTONOMY_LEVEL_SHADOW: AutonomyLevel
AUTONOMY_LEVEL_ASK: AutonomyLevel
AUTONOMY_LEVEL_PREVIEW: AutonomyLevel
AUTONOMY_LEVEL_AUTO: AutonomyLevel
OUTPUT_STREAM_UNSPECIFIED: OutputStream
OUTPUT_STREAM_STDOUT: OutputStream
OUTPUT_STREAM_STDERR: OutputStream

class Decision(_message.Message):
    __slots__ = ("effect", "policies", "reason", "stage", "permitted", "policy_version", "level", "masks", "grants")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PERMITTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    effect: PolicyEffect
    policies: _containers.RepeatedCompositeFieldContainer[_error_pb2.PolicyRef]
    reason: str
    stage: _permit_pb2.Stage
    permitted: _containers.RepeatedCompositeFieldContainer[_effect_pb2.PermittedEffect]
    policy_version: str
    level: AutonomyLevel
    masks: _permit_pb2.Masks
    grants: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, effect: _Optional[_Union[PolicyEffect, str]] = ..., policies: _Optional[_Iterable[_Union[_error_pb2.PolicyRef, _Mapping]]] = ..., reason: _Optional[str] = ..., stage: _Optional[_Union[_permit_pb2.Stage, str]] = ..., permitted: _Optional[_Iterable[_Union[_effect_pb2.PermittedEffect, _Mapping]]] = ..., policy_version: _Optional[str] = ..., level: _Optional[_Union[AutonomyLevel, str]] = ..., masks: _Optional[_Union[_permit_pb2.Masks, _Mapping]] = ..., grants: _Optional[_Iterable[str]] = ...) -> None: ...

class ToolResult(_message.Message):
    __slots__ = ("ok", "result_json", "error", "duration_ns", "confinement")
    OK_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    CONFINEMENT_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    result_json: str
    error: _error_pb2.Error
    duration_ns: int
    confinement: str
    def __init__(self, ok: _Optional[bool] = ..., result_json: _Optional[str] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., duration_ns: _Optional[int] = ..., confinement: _Optional[str] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("validity", "success", "side_effects", "side_effect_weight", "severity", "clean")
    VALIDITY_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECTS_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CLEAN_FIELD_NUMBER: _ClassVar[int]
    validity: float
    success: float
    side_effects: int
    side_effect_weight: float
    severity: _effect_pb2.Severity
    clean: bool
    def __init__(self, validity: _Optional[float] = ..., success: _Optional[float] = ..., side_effects: _Optional[int] = ..., side_effect_weight: _Optional[float] = ..., severity: _Optional[_Union[_effect_pb2.Severity, str]] = ..., clean: _Optional[bool] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("call_id", "proposal", "state", "outcome", "decision", "prediction", "declared", "observation", "side_effects", "score", "result", "error", "approval", "permits", "attempt", "proposed_at", "settled_at", "action_digest", "replaced_by", "abridged", "reconciliation")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECTS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_AT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    ABRIDGED_FIELD_NUMBER: _ClassVar[int]
    RECONCILIATION_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    proposal: _action_pb2.Proposal
    state: CallState
    outcome: Outcome
    decision: Decision
    prediction: _effect_pb2.Prediction
    declared: _containers.RepeatedCompositeFieldContainer[_effect_pb2.ExpectedEffect]
    observation: _effect_pb2.Observation
    side_effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.SideEffect]
    score: Score
    result: ToolResult
    error: _error_pb2.Error
    approval: _approval_pb2.Approval
    permits: _containers.RepeatedCompositeFieldContainer[_permit_pb2.Permit]
    attempt: int
    proposed_at: int
    settled_at: int
    action_digest: str
    replaced_by: str
    abridged: _containers.RepeatedCompositeFieldContainer[_action_pb2.Abridged]
    reconciliation: Reconciliation
    def __init__(self, call_id: _Optional[str] = ..., proposal: _Optional[_Union[_action_pb2.Proposal, _Mapping]] = ..., state: _Optional[_Union[CallState, str]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., prediction: _Optional[_Union[_effect_pb2.Prediction, _Mapping]] = ..., declared: _Optional[_Iterable[_Union[_effect_pb2.ExpectedEffect, _Mapping]]] = ..., observation: _Optional[_Union[_effect_pb2.Observation, _Mapping]] = ..., side_effects: _Optional[_Iterable[_Union[_effect_pb2.SideEffect, _Mapping]]] = ..., score: _Optional[_Union[Score, _Mapping]] = ..., result: _Optional[_Union[ToolResult, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., approval: _Optional[_Union[_approval_pb2.Approval, _Mapping]] = ..., permits: _Optional[_Iterable[_Union[_permit_pb2.Permit, _Mapping]]] = ..., attempt: _Optional[int] = ..., proposed_at: _Optional[int] = ..., settled_at: _Optional[int] = ..., action_digest: _Optional[str] = ..., replaced_by: _Optional[str] = ..., abridged: _Optional[_Iterable[_Union[_action_pb2.Abridged, _Mapping]]] = ..., reconciliation: _Optional[_Union[Reconciliation, _Mapping]] = ...) -> None: ...

class Reconciliation(_message.Message):
    __slots__ = ("by", "why", "outcome", "at", "without_host", "measured", "measured_at")
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_HOST_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    MEASURED_AT_FIELD_NUMBER: _ClassVar[int]
    by: _action_pb2.Actor
    why: str
    outcome: Outcome
    at: int
    without_host: bool
    measured: Outcome
    measured_at: int
    def __init__(self, by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., at: _Optional[int] = ..., without_host: _Optional[bool] = ..., measured: _Optional[_Union[Outcome, str]] = ..., measured_at: _Optional[int] = ...) -> None: ...

class ProposeRequest(_message.Message):
    __slots__ = ("proposal", "wait_for_decision")
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_DECISION_FIELD_NUMBER: _ClassVar[int]
    proposal: _action_pb2.Proposal
    wait_for_decision: bool
    def __init__(self, proposal: _Optional[_Union[_action_pb2.Proposal, _Mapping]] = ..., wait_for_decision: _Optional[bool] = ...) -> None: ...

class GetCallRequest(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    def __init__(self, call_id: _Optional[str] = ...) -> None: ...

class ListCallsRequest(_message.Message):
    __slots__ = ("limit", "run", "agent", "before_call_id", "states")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    limit: int
    run: str
    agent: str
    before_call_id: str
    states: _containers.RepeatedScalarFieldContainer[CallState]
    def __init__(self, limit: _Optional[int] = ..., run: _Optional[str] = ..., agent: _Optional[str] = ..., before_call_id: _Optional[str] = ..., states: _Optional[_Iterable[_Union[CallState, str]]] = ...) -> None: ...

class ListCallsResponse(_message.Message):
    __slots__ = ("calls", "next_before_call_id")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEFORE_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    next_before_call_id: str
    def __init__(self, calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ..., next_before_call_id: _Optional[str] = ...) -> None: ...

class WatchCallRequest(_message.Message):
    __slots__ = ("call_id", "output_from")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FROM_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    output_from: int
    def __init__(self, call_id: _Optional[str] = ..., output_from: _Optional[int] = ...) -> None: ...

class CancelCallRequest(_message.Message):
    __slots__ = ("call_id", "why")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    why: str
    def __init__(self, call_id: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ReconcileCallRequest(_message.Message):
    __slots__ = ("call_id", "outcome", "by", "why", "without_host")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_HOST_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    outcome: Outcome
    by: _action_pb2.Actor
    why: str
    without_host: bool
    def __init__(self, call_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., without_host: _Optional[bool] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("call_id", "stream", "sequence", "data", "dropped")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    stream: OutputStream
    sequence: int
    data: bytes
    dropped: int
    def __init__(self, call_id: _Optional[str] = ..., stream: _Optional[_Union[OutputStream, str]] = ..., sequence: _Optional[int] = ..., data: _Optional[bytes] = ..., dropped: _Optional[int] = ...) -> None: ...

class CallUpdate(_message.Message):
    __slots__ = ("call", "output")
    CALL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    call: Call
    output: Output
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ...) -> None: ...
