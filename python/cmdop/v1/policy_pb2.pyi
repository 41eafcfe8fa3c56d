from cmdop.v1 import config_pb2 as _config_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyStatus(_message.Message):
    __slots__ = ("version", "files", "entities", "loaded_at", "warnings", "autonomy")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    LOADED_AT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    AUTONOMY_FIELD_NUMBER: _ClassVar[int]
    version: str
    files: _containers.RepeatedCompositeFieldContainer[_config_pb2.PolicyFile]
    entities: _config_pb2.PolicyEntities
    loaded_at: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    autonomy: _config_pb2.AutonomyConfig
    def __init__(self, version: _Optional[str] = ..., files: _Optional[_Iterable[_Union[_config_pb2.PolicyFile, _Mapping]]] = ..., entities: _Optional[_Union[_config_pb2.PolicyEntities, _Mapping]] = ..., loaded_at: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., autonomy: _Optional[_Union[_config_pb2.AutonomyConfig, _Mapping]] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
