from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import approval_pb2 as _approval_pb2
from cmdop.v1 import call_pb2 as _call_pb2
from cmdop.v1 import config_pb2 as _config_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from cmdop.v1 import error_pb2 as _error_pb2
from cmdop.v1 import freeze_pb2 as _freeze_pb2
from cmdop.v1 import grant_pb2 as _grant_pb2
from cmdop.v1 import host_pb2 as _host_pb2
from cmdop.v1 import permit_pb2 as _permit_pb2
from cmdop.v1 import run_pb2 as _run_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("at", "subject", "call_proposed", "call_refused", "call_decided", "call_held", "approval_decided", "call_permitted", "call_started", "call_previewed", "call_settled", "run_started", "turn_recorded", "run_finished", "instruction_given", "host_attached", "host_detached", "server_started", "policy_reloaded", "freeze_created", "freeze_lifted", "grant_created", "grant_revoked", "permit_noted", "permit_reported", "layer_dropped", "report_acknowledged")
    AT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CALL_PROPOSED_FIELD_NUMBER: _ClassVar[int]
    CALL_REFUSED_FIELD_NUMBER: _ClassVar[int]
    CALL_DECIDED_FIELD_NUMBER: _ClassVar[int]
    CALL_HELD_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_DECIDED_FIELD_NUMBER: _ClassVar[int]
    CALL_PERMITTED_FIELD_NUMBER: _ClassVar[int]
    CALL_STARTED_FIELD_NUMBER: _ClassVar[int]
    CALL_PREVIEWED_FIELD_NUMBER: _ClassVar[int]
    CALL_SETTLED_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTED_FIELD_NUMBER: _ClassVar[int]
    TURN_RECORDED_FIELD_NUMBER: _ClassVar[int]
    RUN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_GIVEN_FIELD_NUMBER: _ClassVar[int]
    HOST_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    HOST_DETACHED_FIELD_NUMBER: _ClassVar[int]
    SERVER_STARTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_RELOADED_FIELD_NUMBER: _ClassVar[int]
    FREEZE_CREATED_FIELD_NUMBER: _ClassVar[int]
    FREEZE_LIFTED_FIELD_NUMBER: _ClassVar[int]
    GRANT_CREATED_FIELD_NUMBER: _ClassVar[int]
    GRANT_REVOKED_FIELD_NUMBER: _ClassVar[int]
    PERMIT_NOTED_FIELD_NUMBER: _ClassVar[int]
    PERMIT_REPORTED_FIELD_NUMBER: _ClassVar[int]
    LAYER_DROPPED_FIELD_NUMBER: _ClassVar[int]
    REPORT_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    at: int
    subject: str
    call_proposed: CallProposed
    call_refused: CallRefused
    call_decided: CallDecided
    call_held: CallHeld
    approval_decided: ApprovalDecided
    call_permitted: CallPermitted
    call_started: CallStarted
    call_previewed: CallPreviewed
    call_settled: CallSettled
    run_started: RunStarted
    turn_recorded: TurnRecorded
    run_finished: RunFinished
    instruction_given: InstructionGiven
    host_attached: HostAttached
    host_detached: HostDetached
    server_started: ServerStarted
    policy_reloaded: PolicyReloaded
    freeze_created: FreezeCreated
    freeze_lifted: FreezeLifted
    grant_created: GrantCreated
    grant_revoked: GrantRevoked
    permit_noted: PermitNoted
    permit_reported: PermitReported
    layer_dropped: LayerDropped
    report_acknowledged: ReportAcknowledged
    def __init__(self, at: _Optional[int] = ..., subject: _Optional[str] = ..., call_proposed: _Optional[_Union[CallProposed, _Mapping]] = ..., call_refused: _Optional[_Union[CallRefused, _Mapping]] = ..., call_decided: _Optional[_Union[CallDecided, _Mapping]] = ..., call_held: _Optional[_Union[CallHeld, _Mapping]] = ..., approval_decided: _Optional[_Union[ApprovalDecided, _Mapping]] = ..., call_permitted: _Optional[_Union[CallPermitted, _Mapping]] = ..., call_started: _Optional[_Union[CallStarted, _Mapping]] = ..., call_previewed: _Optional[_Union[CallPreviewed, _Mapping]] = ..., call_settled: _Optional[_Union[CallSettled, _Mapping]] = ..., run_started: _Optional[_Union[RunStarted, _Mapping]] = ..., turn_recorded: _Optional[_Union[TurnRecorded, _Mapping]] = ..., run_finished: _Optional[_Union[RunFinished, _Mapping]] = ..., instruction_given: _Optional[_Union[InstructionGiven, _Mapping]] = ..., host_attached: _Optional[_Union[HostAttached, _Mapping]] = ..., host_detached: _Optional[_Union[HostDetached, _Mapping]] = ..., server_started: _Optional[_Union[ServerStarted, _Mapping]] = ..., policy_reloaded: _Optional[_Union[PolicyReloaded, _Mapping]] = ..., freeze_created: _Optional[_Union[FreezeCreated, _Mapping]] = ..., freeze_lifted: _Optional[_Union[FreezeLifted, _Mapping]] = ..., grant_created: _Optional[_Union[GrantCreated, _Mapping]] = ..., grant_revoked: _Optional[_Union[GrantRevoked, _Mapping]] = ..., permit_noted: _Optional[_Union[PermitNoted, _Mapping]] = ..., permit_reported: _Optional[_Union[PermitReported, _Mapping]] = ..., layer_dropped: _Optional[_Union[LayerDropped, _Mapping]] = ..., report_acknowledged: _Optional[_Union[ReportAcknowledged, _Mapping]] = ...) -> None: ...

class CallProposed(_message.Message):
    __slots__ = ("proposal", "action_digest")
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    proposal: _action_pb2.Proposal
    action_digest: str
    def __init__(self, proposal: _Optional[_Union[_action_pb2.Proposal, _Mapping]] = ..., action_digest: _Optional[str] = ...) -> None: ...

class CallRefused(_message.Message):
    __slots__ = ("error", "score")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    error: _error_pb2.Error
    score: _call_pb2.Score
    def __init__(self, error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., score: _Optional[_Union[_call_pb2.Score, _Mapping]] = ...) -> None: ...

class CallDecided(_message.Message):
    __slots__ = ("decision", "prediction", "declared", "validate_ns", "predict_ns", "authorise_ns")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_NS_FIELD_NUMBER: _ClassVar[int]
    PREDICT_NS_FIELD_NUMBER: _ClassVar[int]
    AUTHORISE_NS_FIELD_NUMBER: _ClassVar[int]
    decision: _call_pb2.Decision
    prediction: _effect_pb2.Prediction
    declared: _containers.RepeatedCompositeFieldContainer[_effect_pb2.ExpectedEffect]
    validate_ns: int
    predict_ns: int
    authorise_ns: int
    def __init__(self, decision: _Optional[_Union[_call_pb2.Decision, _Mapping]] = ..., prediction: _Optional[_Union[_effect_pb2.Prediction, _Mapping]] = ..., declared: _Optional[_Iterable[_Union[_effect_pb2.ExpectedEffect, _Mapping]]] = ..., validate_ns: _Optional[int] = ..., predict_ns: _Optional[int] = ..., authorise_ns: _Optional[int] = ...) -> None: ...

class CallHeld(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: _approval_pb2.Approval
    def __init__(self, approval: _Optional[_Union[_approval_pb2.Approval, _Mapping]] = ...) -> None: ...

class ApprovalDecided(_message.Message):
    __slots__ = ("approval_id", "status", "decision", "quorums", "expires_at", "void_cause")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    QUORUMS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    VOID_CAUSE_FIELD_NUMBER: _ClassVar[int]
    approval_id: str
    status: _approval_pb2.ApprovalStatus
    decision: _approval_pb2.ApprovalDecision
    quorums: _containers.RepeatedCompositeFieldContainer[_approval_pb2.Quorum]
    expires_at: int
    void_cause: _approval_pb2.VoidCause
    def __init__(self, approval_id: _Optional[str] = ..., status: _Optional[_Union[_approval_pb2.ApprovalStatus, str]] = ..., decision: _Optional[_Union[_approval_pb2.ApprovalDecision, _Mapping]] = ..., quorums: _Optional[_Iterable[_Union[_approval_pb2.Quorum, _Mapping]]] = ..., expires_at: _Optional[int] = ..., void_cause: _Optional[_Union[_approval_pb2.VoidCause, str]] = ...) -> None: ...

class CallPermitted(_message.Message):
    __slots__ = ("permit", "approval_id", "grants")
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    permit: _permit_pb2.Permit
    approval_id: str
    grants: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, permit: _Optional[_Union[_permit_pb2.Permit, _Mapping]] = ..., approval_id: _Optional[str] = ..., grants: _Optional[_Iterable[str]] = ...) -> None: ...

class CallStarted(_message.Message):
    __slots__ = ("permit_id",)
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    def __init__(self, permit_id: _Optional[str] = ...) -> None: ...

class CallPreviewed(_message.Message):
    __slots__ = ("report", "beyond")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FIELD_NUMBER: _ClassVar[int]
    report: _host_pb2.Report
    beyond: _containers.RepeatedCompositeFieldContainer[_effect_pb2.SideEffect]
    def __init__(self, report: _Optional[_Union[_host_pb2.Report, _Mapping]] = ..., beyond: _Optional[_Iterable[_Union[_effect_pb2.SideEffect, _Mapping]]] = ...) -> None: ...

class CallSettled(_message.Message):
    __slots__ = ("outcome", "report", "side_effects", "score", "error", "replaced_by", "reconciliation")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECTS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    RECONCILIATION_FIELD_NUMBER: _ClassVar[int]
    outcome: _call_pb2.Outcome
    report: _host_pb2.Report
    side_effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.SideEffect]
    score: _call_pb2.Score
    error: _error_pb2.Error
    replaced_by: str
    reconciliation: _call_pb2.Reconciliation
    def __init__(self, outcome: _Optional[_Union[_call_pb2.Outcome, str]] = ..., report: _Optional[_Union[_host_pb2.Report, _Mapping]] = ..., side_effects: _Optional[_Iterable[_Union[_effect_pb2.SideEffect, _Mapping]]] = ..., score: _Optional[_Union[_call_pb2.Score, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., replaced_by: _Optional[str] = ..., reconciliation: _Optional[_Union[_call_pb2.Reconciliation, _Mapping]] = ...) -> None: ...

class RunStarted(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...

class TurnRecorded(_message.Message):
    __slots__ = ("turn",)
    TURN_FIELD_NUMBER: _ClassVar[int]
    turn: _run_pb2.ModelTurn
    def __init__(self, turn: _Optional[_Union[_run_pb2.ModelTurn, _Mapping]] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("run_id", "status", "final_output", "why")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FINAL_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    status: _run_pb2.RunStatus
    final_output: str
    why: str
    def __init__(self, run_id: _Optional[str] = ..., status: _Optional[_Union[_run_pb2.RunStatus, str]] = ..., final_output: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class InstructionGiven(_message.Message):
    __slots__ = ("actor", "text")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    actor: _action_pb2.Actor
    text: str
    def __init__(self, actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class HostAttached(_message.Message):
    __slots__ = ("host",)
    HOST_FIELD_NUMBER: _ClassVar[int]
    host: _host_pb2.Host
    def __init__(self, host: _Optional[_Union[_host_pb2.Host, _Mapping]] = ...) -> None: ...

class HostDetached(_message.Message):
    __slots__ = ("host", "why")
    HOST_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    host: str
    why: str
    def __init__(self, host: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ServerStarted(_message.Message):
    __slots__ = ("version", "policy_version", "vocabulary_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    policy_version: str
    vocabulary_version: str
    def __init__(self, version: _Optional[str] = ..., policy_version: _Optional[str] = ..., vocabulary_version: _Optional[str] = ...) -> None: ...

class PolicyReloaded(_message.Message):
    __slots__ = ("policy_version", "previous_version", "files", "autonomy")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    AUTONOMY_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    previous_version: str
    files: _containers.RepeatedScalarFieldContainer[str]
    autonomy: _config_pb2.AutonomyConfig
    def __init__(self, policy_version: _Optional[str] = ..., previous_version: _Optional[str] = ..., files: _Optional[_Iterable[str]] = ..., autonomy: _Optional[_Union[_config_pb2.AutonomyConfig, _Mapping]] = ...) -> None: ...

class GrantCreated(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: _grant_pb2.StandingGrant
    def __init__(self, grant: _Optional[_Union[_grant_pb2.StandingGrant, _Mapping]] = ...) -> None: ...

class GrantRevoked(_message.Message):
    __slots__ = ("grant_id", "revocation")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    revocation: _grant_pb2.GrantRevocation
    def __init__(self, grant_id: _Optional[str] = ..., revocation: _Optional[_Union[_grant_pb2.GrantRevocation, _Mapping]] = ...) -> None: ...

class FreezeCreated(_message.Message):
    __slots__ = ("freeze",)
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    freeze: _freeze_pb2.Freeze
    def __init__(self, freeze: _Optional[_Union[_freeze_pb2.Freeze, _Mapping]] = ...) -> None: ...

class FreezeLifted(_message.Message):
    __slots__ = ("freeze_id", "lift")
    FREEZE_ID_FIELD_NUMBER: _ClassVar[int]
    LIFT_FIELD_NUMBER: _ClassVar[int]
    freeze_id: str
    lift: _freeze_pb2.FreezeLift
    def __init__(self, freeze_id: _Optional[str] = ..., lift: _Optional[_Union[_freeze_pb2.FreezeLift, _Mapping]] = ...) -> None: ...

class PermitNoted(_message.Message):
    __slots__ = ("permit",)
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    permit: _permit_pb2.SignedPermit
    def __init__(self, permit: _Optional[_Union[_permit_pb2.SignedPermit, _Mapping]] = ...) -> None: ...

class PermitReported(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: _host_pb2.Report
    def __init__(self, report: _Optional[_Union[_host_pb2.Report, _Mapping]] = ...) -> None: ...

class LayerDropped(_message.Message):
    __slots__ = ("call_id", "why")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    why: str
    def __init__(self, call_id: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ReportAcknowledged(_message.Message):
    __slots__ = ("permit_id",)
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    def __init__(self, permit_id: _Optional[str] = ...) -> None: ...
