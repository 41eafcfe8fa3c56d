from cmdop.v1 import call_pb2 as _call_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from cmdop.v1 import error_pb2 as _error_pb2
from cmdop.v1 import permit_pb2 as _permit_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Capability(_message.Message):
    __slots__ = ("name", "available", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    available: bool
    detail: str
    def __init__(self, name: _Optional[str] = ..., available: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class Host(_message.Message):
    __slots__ = ("name", "attached", "capabilities", "workspaces", "labels", "tools", "fixture", "kernel", "version", "attached_at", "home", "ledger")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    FIXTURE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_AT_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    name: str
    attached: bool
    capabilities: _containers.RepeatedCompositeFieldContainer[Capability]
    workspaces: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    tools: _containers.RepeatedScalarFieldContainer[str]
    fixture: bool
    kernel: str
    version: str
    attached_at: int
    home: str
    ledger: int
    def __init__(self, name: _Optional[str] = ..., attached: _Optional[bool] = ..., capabilities: _Optional[_Iterable[_Union[Capability, _Mapping]]] = ..., workspaces: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., tools: _Optional[_Iterable[str]] = ..., fixture: _Optional[bool] = ..., kernel: _Optional[str] = ..., version: _Optional[str] = ..., attached_at: _Optional[int] = ..., home: _Optional[str] = ..., ledger: _Optional[int] = ...) -> None: ...

class ListHostsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHostsResponse(_message.Message):
    __slots__ = ("hosts",)
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[Host]
    def __init__(self, hosts: _Optional[_Iterable[_Union[Host, _Mapping]]] = ...) -> None: ...

class GetHostRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class HostHello(_message.Message):
    __slots__ = ("min_protocol", "max_protocol", "host")
    MIN_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MAX_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    min_protocol: int
    max_protocol: int
    host: Host
    def __init__(self, min_protocol: _Optional[int] = ..., max_protocol: _Optional[int] = ..., host: _Optional[_Union[Host, _Mapping]] = ...) -> None: ...

class ServerWelcome(_message.Message):
    __slots__ = ("protocol", "server_version", "heartbeat_ms")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    server_version: str
    heartbeat_ms: int
    def __init__(self, protocol: _Optional[int] = ..., server_version: _Optional[str] = ..., heartbeat_ms: _Optional[int] = ...) -> None: ...

class Execute(_message.Message):
    __slots__ = ("permit",)
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    permit: _permit_pb2.SignedPermit
    def __init__(self, permit: _Optional[_Union[_permit_pb2.SignedPermit, _Mapping]] = ...) -> None: ...

class Discard(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    def __init__(self, call_id: _Optional[str] = ...) -> None: ...

class CancelExecution(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    def __init__(self, call_id: _Optional[str] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ("permit_id",)
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    def __init__(self, permit_id: _Optional[str] = ...) -> None: ...

class Inquire(_message.Message):
    __slots__ = ("permit_id", "call_id")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    call_id: str
    def __init__(self, permit_id: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class ServerToHost(_message.Message):
    __slots__ = ("welcome", "execute", "discard", "cancel", "acknowledge", "inquire", "error", "heartbeat")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_FIELD_NUMBER: _ClassVar[int]
    DISCARD_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    INQUIRE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    welcome: ServerWelcome
    execute: Execute
    discard: Discard
    cancel: CancelExecution
    acknowledge: Acknowledge
    inquire: Inquire
    error: _error_pb2.Error
    heartbeat: Heartbeat
    def __init__(self, welcome: _Optional[_Union[ServerWelcome, _Mapping]] = ..., execute: _Optional[_Union[Execute, _Mapping]] = ..., discard: _Optional[_Union[Discard, _Mapping]] = ..., cancel: _Optional[_Union[CancelExecution, _Mapping]] = ..., acknowledge: _Optional[_Union[Acknowledge, _Mapping]] = ..., inquire: _Optional[_Union[Inquire, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("permit_id", "call_id")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    call_id: str
    def __init__(self, permit_id: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("permit_id", "call_id", "stage", "outcome", "result", "observation", "layer_held", "error")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    LAYER_HELD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    call_id: str
    stage: _permit_pb2.Stage
    outcome: _call_pb2.Outcome
    result: _call_pb2.ToolResult
    observation: _effect_pb2.Observation
    layer_held: bool
    error: _error_pb2.Error
    def __init__(self, permit_id: _Optional[str] = ..., call_id: _Optional[str] = ..., stage: _Optional[_Union[_permit_pb2.Stage, str]] = ..., outcome: _Optional[_Union[_call_pb2.Outcome, str]] = ..., result: _Optional[_Union[_call_pb2.ToolResult, _Mapping]] = ..., observation: _Optional[_Union[_effect_pb2.Observation, _Mapping]] = ..., layer_held: _Optional[bool] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class Forgotten(_message.Message):
    __slots__ = ("permit_id", "call_id", "ledger")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    call_id: str
    ledger: int
    def __init__(self, permit_id: _Optional[str] = ..., call_id: _Optional[str] = ..., ledger: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class HostToServer(_message.Message):
    __slots__ = ("hello", "started", "output", "report", "forgotten", "heartbeat", "draining")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    hello: HostHello
    started: Started
    output: _call_pb2.Output
    report: Report
    forgotten: Forgotten
    heartbeat: Heartbeat
    draining: HostDraining
    def __init__(self, hello: _Optional[_Union[HostHello, _Mapping]] = ..., started: _Optional[_Union[Started, _Mapping]] = ..., output: _Optional[_Union[_call_pb2.Output, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., forgotten: _Optional[_Union[Forgotten, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., draining: _Optional[_Union[HostDraining, _Mapping]] = ...) -> None: ...

class HostDraining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
