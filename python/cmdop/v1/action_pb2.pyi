from cmdop.v1 import effect_pb2 as _effect_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Action(_message.Message):
    __slots__ = ("tool", "host", "intent", "arguments_json", "expect")
    TOOL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    tool: str
    host: str
    intent: str
    arguments_json: str
    expect: _containers.RepeatedCompositeFieldContainer[_effect_pb2.ExpectedEffect]
    def __init__(self, tool: _Optional[str] = ..., host: _Optional[str] = ..., intent: _Optional[str] = ..., arguments_json: _Optional[str] = ..., expect: _Optional[_Iterable[_Union[_effect_pb2.ExpectedEffect, _Mapping]]] = ...) -> None: ...

class Abridged(_message.Message):
    __slots__ = ("pointer", "bytes", "count", "sha256")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    pointer: str
    bytes: int
    count: int
    sha256: str
    def __init__(self, pointer: _Optional[str] = ..., bytes: _Optional[int] = ..., count: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Actor(_message.Message):
    __slots__ = ("tenant", "user", "agent", "run", "session")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    user: str
    agent: str
    run: str
    session: str
    def __init__(self, tenant: _Optional[str] = ..., user: _Optional[str] = ..., agent: _Optional[str] = ..., run: _Optional[str] = ..., session: _Optional[str] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("action", "actor", "idempotency_key", "author_attempt", "model_call_id", "replaces")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    action: Action
    actor: Actor
    idempotency_key: str
    author_attempt: int
    model_call_id: str
    replaces: Replaces
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., author_attempt: _Optional[int] = ..., model_call_id: _Optional[str] = ..., replaces: _Optional[_Union[Replaces, _Mapping]] = ...) -> None: ...

class Replaces(_message.Message):
    __slots__ = ("call_id", "by")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    by: str
    def __init__(self, call_id: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...
