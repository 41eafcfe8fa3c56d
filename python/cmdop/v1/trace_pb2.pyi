from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import approval_pb2 as _approval_pb2
from cmdop.v1 import call_pb2 as _call_pb2
from cmdop.v1 import ledger_pb2 as _ledger_pb2
from cmdop.v1 import run_pb2 as _run_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartRunRequest(_message.Message):
    __slots__ = ("actor", "task", "model")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    actor: _action_pb2.Actor
    task: str
    model: str
    def __init__(self, actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., task: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class FinishRunRequest(_message.Message):
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

class RecordTurnRequest(_message.Message):
    __slots__ = ("turn",)
    TURN_FIELD_NUMBER: _ClassVar[int]
    turn: _run_pb2.ModelTurn
    def __init__(self, turn: _Optional[_Union[_run_pb2.ModelTurn, _Mapping]] = ...) -> None: ...

class RecordTurnResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("limit", "before_run_id")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    limit: int
    before_run_id: str
    def __init__(self, limit: _Optional[int] = ..., before_run_id: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_before_run_id")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEFORE_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[_run_pb2.Run]
    next_before_run_id: str
    def __init__(self, runs: _Optional[_Iterable[_Union[_run_pb2.Run, _Mapping]]] = ..., next_before_run_id: _Optional[str] = ...) -> None: ...

class GetTraceRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class InstructRequest(_message.Message):
    __slots__ = ("actor", "text")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    actor: _action_pb2.Actor
    text: str
    def __init__(self, actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class InstructResponse(_message.Message):
    __slots__ = ("superseded",)
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    superseded: _containers.RepeatedCompositeFieldContainer[_approval_pb2.Approval]
    def __init__(self, superseded: _Optional[_Iterable[_Union[_approval_pb2.Approval, _Mapping]]] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("run", "calls", "events", "abridged")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ABRIDGED_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    calls: _containers.RepeatedCompositeFieldContainer[_call_pb2.Call]
    events: _containers.RepeatedCompositeFieldContainer[_ledger_pb2.Event]
    abridged: _containers.RepeatedCompositeFieldContainer[_action_pb2.Abridged]
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ..., calls: _Optional[_Iterable[_Union[_call_pb2.Call, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[_ledger_pb2.Event, _Mapping]]] = ..., abridged: _Optional[_Iterable[_Union[_action_pb2.Abridged, _Mapping]]] = ...) -> None: ...
