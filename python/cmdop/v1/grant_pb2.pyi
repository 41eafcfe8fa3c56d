from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from cmdop.v1 import freeze_pb2 as _freeze_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StandingGrant(_message.Message):
    __slots__ = ("grant_id", "agent", "hosts", "effect", "uses", "used", "expires_at", "why", "author", "created_at", "revocation")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    agent: str
    hosts: _freeze_pb2.FreezeScope
    effect: _effect_pb2.PermittedEffect
    uses: int
    used: int
    expires_at: int
    why: str
    author: _action_pb2.Actor
    created_at: int
    revocation: GrantRevocation
    def __init__(self, grant_id: _Optional[str] = ..., agent: _Optional[str] = ..., hosts: _Optional[_Union[_freeze_pb2.FreezeScope, _Mapping]] = ..., effect: _Optional[_Union[_effect_pb2.PermittedEffect, _Mapping]] = ..., uses: _Optional[int] = ..., used: _Optional[int] = ..., expires_at: _Optional[int] = ..., why: _Optional[str] = ..., author: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., created_at: _Optional[int] = ..., revocation: _Optional[_Union[GrantRevocation, _Mapping]] = ...) -> None: ...

class GrantRevocation(_message.Message):
    __slots__ = ("by", "why", "revoked_at")
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    by: _action_pb2.Actor
    why: str
    revoked_at: int
    def __init__(self, by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ..., revoked_at: _Optional[int] = ...) -> None: ...

class CreateGrantRequest(_message.Message):
    __slots__ = ("agent", "hosts", "effect", "uses", "ttl_ms", "why", "author")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    agent: str
    hosts: _freeze_pb2.FreezeScope
    effect: _effect_pb2.PermittedEffect
    uses: int
    ttl_ms: int
    why: str
    author: _action_pb2.Actor
    def __init__(self, agent: _Optional[str] = ..., hosts: _Optional[_Union[_freeze_pb2.FreezeScope, _Mapping]] = ..., effect: _Optional[_Union[_effect_pb2.PermittedEffect, _Mapping]] = ..., uses: _Optional[int] = ..., ttl_ms: _Optional[int] = ..., why: _Optional[str] = ..., author: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: _Optional[bool] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants",)
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[StandingGrant]
    def __init__(self, grants: _Optional[_Iterable[_Union[StandingGrant, _Mapping]]] = ...) -> None: ...

class GetGrantRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    def __init__(self, grant_id: _Optional[str] = ...) -> None: ...

class RevokeGrantRequest(_message.Message):
    __slots__ = ("grant_id", "by", "why")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    by: _action_pb2.Actor
    why: str
    def __init__(self, grant_id: _Optional[str] = ..., by: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., why: _Optional[str] = ...) -> None: ...
