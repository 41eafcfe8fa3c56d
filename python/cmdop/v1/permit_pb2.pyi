from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import effect_pb2 as _effect_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_PREVIEW: _ClassVar[Stage]
    STAGE_COMMIT: _ClassVar[Stage]
    STAGE_APPLY: _ClassVar[Stage]
STAGE_UNSPECIFIED: Stage
STAGE_PREVIEW: Stage
STAGE_COMMIT: Stage
STAGE_APPLY: Stage

class Masks(_message.Message):
    __slots__ = ("classes", "shown")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedScalarFieldContainer[str]
    shown: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, classes: _Optional[_Iterable[str]] = ..., shown: _Optional[_Iterable[str]] = ...) -> None: ...

class Permit(_message.Message):
    __slots__ = ("permit_id", "call_id", "attempt", "host", "stage", "action", "idempotency_key", "actor", "effects", "preview_digest", "issued_at", "expires_at", "action_digest", "policy_version", "masks", "ledger")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    call_id: str
    attempt: int
    host: str
    stage: Stage
    action: _action_pb2.Action
    idempotency_key: str
    actor: _action_pb2.Actor
    effects: _containers.RepeatedCompositeFieldContainer[_effect_pb2.PermittedEffect]
    preview_digest: str
    issued_at: int
    expires_at: int
    action_digest: str
    policy_version: str
    masks: Masks
    ledger: int
    def __init__(self, permit_id: _Optional[str] = ..., call_id: _Optional[str] = ..., attempt: _Optional[int] = ..., host: _Optional[str] = ..., stage: _Optional[_Union[Stage, str]] = ..., action: _Optional[_Union[_action_pb2.Action, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., effects: _Optional[_Iterable[_Union[_effect_pb2.PermittedEffect, _Mapping]]] = ..., preview_digest: _Optional[str] = ..., issued_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., action_digest: _Optional[str] = ..., policy_version: _Optional[str] = ..., masks: _Optional[_Union[Masks, _Mapping]] = ..., ledger: _Optional[int] = ...) -> None: ...

class SignedPermit(_message.Message):
    __slots__ = ("permit", "signature", "key_id", "path", "left")
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    permit: bytes
    signature: bytes
    key_id: bytes
    path: bytes
    left: int
    def __init__(self, permit: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., key_id: _Optional[bytes] = ..., path: _Optional[bytes] = ..., left: _Optional[int] = ...) -> None: ...
