from cmdop.v1 import error_pb2 as _error_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Idempotency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDEMPOTENCY_UNSPECIFIED: _ClassVar[Idempotency]
    IDEMPOTENCY_PURE: _ClassVar[Idempotency]
    IDEMPOTENCY_IDEMPOTENT: _ClassVar[Idempotency]
    IDEMPOTENCY_ONCE: _ClassVar[Idempotency]

class EffectSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_SOURCE_UNSPECIFIED: _ClassVar[EffectSource]
    EFFECT_SOURCE_TEMPLATE: _ClassVar[EffectSource]
    EFFECT_SOURCE_DECLARED: _ClassVar[EffectSource]
IDEMPOTENCY_UNSPECIFIED: Idempotency
IDEMPOTENCY_PURE: Idempotency
IDEMPOTENCY_IDEMPOTENT: Idempotency
IDEMPOTENCY_ONCE: Idempotency
EFFECT_SOURCE_UNSPECIFIED: EffectSource
EFFECT_SOURCE_TEMPLATE: EffectSource
EFFECT_SOURCE_DECLARED: EffectSource

class ToolContract(_message.Message):
    __slots__ = ("name", "description", "arguments_schema", "result_schema", "effect_source", "idempotency", "reasons", "version", "words")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    RESULT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EFFECT_SOURCE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    arguments_schema: str
    result_schema: str
    effect_source: EffectSource
    idempotency: Idempotency
    reasons: _containers.RepeatedScalarFieldContainer[_error_pb2.Reason]
    version: str
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., arguments_schema: _Optional[str] = ..., result_schema: _Optional[str] = ..., effect_source: _Optional[_Union[EffectSource, str]] = ..., idempotency: _Optional[_Union[Idempotency, str]] = ..., reasons: _Optional[_Iterable[_Union[_error_pb2.Reason, str]]] = ..., version: _Optional[str] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class ListToolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListToolsResponse(_message.Message):
    __slots__ = ("tools",)
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[ToolContract]
    def __init__(self, tools: _Optional[_Iterable[_Union[ToolContract, _Mapping]]] = ...) -> None: ...

class DescribeToolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
