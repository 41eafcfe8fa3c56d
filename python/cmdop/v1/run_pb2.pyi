from cmdop.v1 import action_pb2 as _action_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATUS_UNSPECIFIED: _ClassVar[RunStatus]
    RUN_STATUS_RUNNING: _ClassVar[RunStatus]
    RUN_STATUS_FINISHED: _ClassVar[RunStatus]
    RUN_STATUS_LIMITED: _ClassVar[RunStatus]
    RUN_STATUS_FAILED: _ClassVar[RunStatus]
    RUN_STATUS_TERMINATED: _ClassVar[RunStatus]
RUN_STATUS_UNSPECIFIED: RunStatus
RUN_STATUS_RUNNING: RunStatus
RUN_STATUS_FINISHED: RunStatus
RUN_STATUS_LIMITED: RunStatus
RUN_STATUS_FAILED: RunStatus
RUN_STATUS_TERMINATED: RunStatus

class Run(_message.Message):
    __slots__ = ("run_id", "actor", "task", "model", "status", "final_output", "started_at", "finished_at", "turns", "why", "parent", "abridged")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FINAL_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ABRIDGED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    actor: _action_pb2.Actor
    task: str
    model: str
    status: RunStatus
    final_output: str
    started_at: int
    finished_at: int
    turns: int
    why: str
    parent: str
    abridged: _containers.RepeatedCompositeFieldContainer[_action_pb2.Abridged]
    def __init__(self, run_id: _Optional[str] = ..., actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., task: _Optional[str] = ..., model: _Optional[str] = ..., status: _Optional[_Union[RunStatus, str]] = ..., final_output: _Optional[str] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., turns: _Optional[int] = ..., why: _Optional[str] = ..., parent: _Optional[str] = ..., abridged: _Optional[_Iterable[_Union[_action_pb2.Abridged, _Mapping]]] = ...) -> None: ...

class ModelTurn(_message.Message):
    __slots__ = ("run_id", "turn", "model", "prompt_json", "response_json", "input_tokens", "output_tokens", "duration_ns", "model_call_ids")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_JSON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_JSON_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    MODEL_CALL_IDS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    turn: int
    model: str
    prompt_json: str
    response_json: str
    input_tokens: int
    output_tokens: int
    duration_ns: int
    model_call_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., turn: _Optional[int] = ..., model: _Optional[str] = ..., prompt_json: _Optional[str] = ..., response_json: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., duration_ns: _Optional[int] = ..., model_call_ids: _Optional[_Iterable[str]] = ...) -> None: ...
