from cmdop.v1 import action_pb2 as _action_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FreezeScope(_message.Message):
    __slots__ = ("host", "group", "label", "everything")
    HOST_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    host: str
    group: str
    label: HostLabel
    everything: bool
    def __init__(self, host: _Optional[str] = ..., group: _Optional[str] = ..., label: _Optional[_Union[HostLabel, _Mapping]] = ..., everything: _Optional[bool] = ...) -> None: ...

class HostLabel(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Freeze(_message.Message):
    __slots__ = ("freeze_id", "scope", "why", "author", "created_at", "lift")
    FREEZE_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LIFT_FIELD_NUMBER: _ClassVar[int]
    freeze_id: str
    scope: FreezeScope
    why: str
    author: _action_pb2.Actor
    created_at: int
    lift: FreezeLift
    def __init__(self, freeze_id: _Optional[str] = ..., scope: _Optional[_Union[FreezeScope, _Mapping]] = ..., why: _Optional[str] = ..., author: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., created_at: _Optional[int] = ..., lift: _Optional[_Union[FreezeLift, _Mapping]] = ...) -> None: ...

class FreezeLift(_message.Message):
    __slots__ = ("by", "why", "lifted_at")
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    LIFTED_AT_FIELD_NUMBER: _ClassVar[int]
    by: _action_pb2.Actor
    why: str
    lifted_at: int
    def __init__(self, by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., lifted_at: _Optional[int] = ...) -> None: ...

class CreateFreezeRequest(_message.Message):
    __slots__ = ("scope", "why", "author")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    scope: FreezeScope
    why: str
    author: _action_pb2.Actor
    def __init__(self, scope: _Optional[_Union[FreezeScope, _Mapping]] = ..., why: _Optional[str] = ..., author: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ...) -> None: ...

class ListFreezesRequest(_message.Message):
    __slots__ = ("lifted",)
    LIFTED_FIELD_NUMBER: _ClassVar[int]
    lifted: bool
    def __init__(self, lifted: _Optional[bool] = ...) -> None: ...

class ListFreezesResponse(_message.Message):
    __slots__ = ("freezes",)
    FREEZES_FIELD_NUMBER: _ClassVar[int]
    freezes: _containers.RepeatedCompositeFieldContainer[Freeze]
    def __init__(self, freezes: _Optional[_Iterable[_Union[Freeze, _Mapping]]] = ...) -> None: ...

class LiftFreezeRequest(_message.Message):
    __slots__ = ("freeze_id", "by", "why")
    FREEZE_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    freeze_id: str
    by: _action_pb2.Actor
    why: str
    def __init__(self, freeze_id: _Optional[str] = ..., by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ...) -> None: ...
