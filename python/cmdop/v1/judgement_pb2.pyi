from cmdop.v1 import effect_pb2 as _effect_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Invocation(_message.Message):
    __slots__ = ("argv", "globbed", "env", "cwd", "stdin", "stdin_unknown", "certain", "source")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ARGV_FIELD_NUMBER: _ClassVar[int]
    GLOBBED_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    CERTAIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    argv: _containers.RepeatedScalarFieldContainer[str]
    globbed: _containers.RepeatedScalarFieldContainer[int]
    env: _containers.ScalarMap[str, str]
    cwd: str
    stdin: str
    stdin_unknown: bool
    certain: bool
    source: str
    def __init__(self, argv: _Optional[_Iterable[str]] = ..., globbed: _Optional[_Iterable[int]] = ..., env: _Optional[_Mapping[str, str]] = ..., cwd: _Optional[str] = ..., stdin: _Optional[str] = ..., stdin_unknown: _Optional[bool] = ..., certain: _Optional[bool] = ..., source: _Optional[str] = ...) -> None: ...

class JudgementRequest(_message.Message):
    __slots__ = ("id", "invocations", "home", "workspaces")
    ID_FIELD_NUMBER: _ClassVar[int]
    INVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    id: int
    invocations: _containers.RepeatedCompositeFieldContainer[Invocation]
    home: str
    workspaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., invocations: _Optional[_Iterable[_Union[Invocation, _Mapping]]] = ..., home: _Optional[str] = ..., workspaces: _Optional[_Iterable[str]] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("effects", "scripts", "invocations", "unanalysable")
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    SCRIPTS_FIELD_NUMBER: _ClassVar[int]
    INVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    UNANALYSABLE_FIELD_NUMBER: _ClassVar[int]
    effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.PredictedEffect]
    scripts: _containers.RepeatedCompositeFieldContainer[NestedScript]
    invocations: _containers.RepeatedCompositeFieldContainer[Invocation]
    unanalysable: str
    def __init__(self, effects: _Optional[_Iterable[_Union[_effect_pb2.PredictedEffect, _Mapping]]] = ..., scripts: _Optional[_Iterable[_Union[NestedScript, _Mapping]]] = ..., invocations: _Optional[_Iterable[_Union[Invocation, _Mapping]]] = ..., unanalysable: _Optional[str] = ...) -> None: ...

class NestedScript(_message.Message):
    __slots__ = ("command", "cwd", "env")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    command: str
    cwd: str
    env: _containers.ScalarMap[str, str]
    def __init__(self, command: _Optional[str] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ...) -> None: ...

class JudgementReply(_message.Message):
    __slots__ = ("id", "judgements")
    ID_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    judgements: _containers.RepeatedCompositeFieldContainer[Judgement]
    def __init__(self, id: _Optional[int] = ..., judgements: _Optional[_Iterable[_Union[Judgement, _Mapping]]] = ...) -> None: ...
