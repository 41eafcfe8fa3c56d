from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EffectKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_KIND_UNSPECIFIED: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_CREATE: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_MODIFY: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_DELETE: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_RENAME: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_CHMOD: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_CHOWN: _ClassVar[EffectKind]
    EFFECT_KIND_PROCESS_SIGNAL: _ClassVar[EffectKind]
    EFFECT_KIND_PROCESS_LEAVE_RUNNING: _ClassVar[EffectKind]
    EFFECT_KIND_SERVICE_START: _ClassVar[EffectKind]
    EFFECT_KIND_SERVICE_STOP: _ClassVar[EffectKind]
    EFFECT_KIND_SERVICE_RESTART: _ClassVar[EffectKind]
    EFFECT_KIND_SERVICE_RELOAD: _ClassVar[EffectKind]
    EFFECT_KIND_PACKAGE_INSTALL: _ClassVar[EffectKind]
    EFFECT_KIND_PACKAGE_REMOVE: _ClassVar[EffectKind]
    EFFECT_KIND_DEPLOY_RELEASE: _ClassVar[EffectKind]
    EFFECT_KIND_DEPLOY_ROLLBACK: _ClassVar[EffectKind]
    EFFECT_KIND_NET_CONNECT: _ClassVar[EffectKind]
    EFFECT_KIND_NET_LISTEN: _ClassVar[EffectKind]
    EFFECT_KIND_EXTERNAL: _ClassVar[EffectKind]
    EFFECT_KIND_FILE_READ: _ClassVar[EffectKind]
    EFFECT_KIND_PROCESS_INSPECT: _ClassVar[EffectKind]
    EFFECT_KIND_PROCESS_SPAWN: _ClassVar[EffectKind]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_NONE: _ClassVar[Severity]
    SEVERITY_LOW: _ClassVar[Severity]
    SEVERITY_MEDIUM: _ClassVar[Severity]
    SEVERITY_HIGH: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]

class FileType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_TYPE_UNSPECIFIED: _ClassVar[FileType]
    FILE_TYPE_REGULAR: _ClassVar[FileType]
    FILE_TYPE_DIRECTORY: _ClassVar[FileType]
    FILE_TYPE_SYMLINK: _ClassVar[FileType]
    FILE_TYPE_FIFO: _ClassVar[FileType]
    FILE_TYPE_SOCKET: _ClassVar[FileType]
    FILE_TYPE_DEVICE: _ClassVar[FileType]
EFFECT_KIND_UNSPECIFIED: EffectKind
EFFECT_KIND_FILE_CREATE: EffectKind
EFFECT_KIND_FILE_MODIFY: EffectKind
EFFECT_KIND_FILE_DELETE: EffectKind
EFFECT_KIND_FILE_RENAME: EffectKind
EFFECT_KIND_FILE_CHMOD: EffectKind
EFFECT_KIND_FILE_CHOWN: EffectKind
EFFECT_KIND_PROCESS_SIGNAL: EffectKind
EFFECT_KIND_PROCESS_LEAVE_RUNNING: EffectKind
EFFECT_KIND_SERVICE_START: EffectKind
EFFECT_KIND_SERVICE_STOP: EffectKind
EFFECT_KIND_SERVICE_RESTART: EffectKind
EFFECT_KIND_SERVICE_RELOAD: EffectKind
EFFECT_KIND_PACKAGE_INSTALL: EffectKind
EFFECT_KIND_PACKAGE_REMOVE: EffectKind
EFFECT_KIND_DEPLOY_RELEASE: EffectKind
EFFECT_KIND_DEPLOY_ROLLBACK: EffectKind
EFFECT_KIND_NET_CONNECT: EffectKind
EFFECT_KIND_NET_LISTEN: EffectKind
EFFECT_KIND_EXTERNAL: EffectKind
EFFECT_KIND_FILE_READ: EffectKind
EFFECT_KIND_PROCESS_INSPECT: EffectKind
EFFECT_KIND_PROCESS_SPAWN: EffectKind
SEVERITY_NONE: Severity
SEVERITY_LOW: Severity
SEVERITY_MEDIUM: Severity
SEVERITY_HIGH: Severity
SEVERITY_CRITICAL: Severity
FILE_TYPE_UNSPECIFIED: FileType
FILE_TYPE_REGULAR: FileType
FILE_TYPE_DIRECTORY: FileType
FILE_TYPE_SYMLINK: FileType
FILE_TYPE_FIFO: FileType
FILE_TYPE_SOCKET: FileType
FILE_TYPE_DEVICE: FileType

class ExpectedEffect(_message.Message):
    __slots__ = ("kind", "target", "min_count", "max_count", "unknown_kind")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_KIND_FIELD_NUMBER: _ClassVar[int]
    kind: EffectKind
    target: str
    min_count: int
    max_count: int
    unknown_kind: str
    def __init__(self, kind: _Optional[_Union[EffectKind, str]] = ..., target: _Optional[str] = ..., min_count: _Optional[int] = ..., max_count: _Optional[int] = ..., unknown_kind: _Optional[str] = ...) -> None: ...

class PredictedEffect(_message.Message):
    __slots__ = ("kind", "target", "certain", "source", "containable", "recoverable")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    CERTAIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTAINABLE_FIELD_NUMBER: _ClassVar[int]
    RECOVERABLE_FIELD_NUMBER: _ClassVar[int]
    kind: EffectKind
    target: str
    certain: bool
    source: str
    containable: bool
    recoverable: bool
    def __init__(self, kind: _Optional[_Union[EffectKind, str]] = ..., target: _Optional[str] = ..., certain: _Optional[bool] = ..., source: _Optional[str] = ..., containable: _Optional[bool] = ..., recoverable: _Optional[bool] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("effects", "unanalysable", "vocabulary_version")
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    UNANALYSABLE_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    effects: _containers.RepeatedCompositeFieldContainer[PredictedEffect]
    unanalysable: _containers.RepeatedScalarFieldContainer[str]
    vocabulary_version: str
    def __init__(self, effects: _Optional[_Iterable[_Union[PredictedEffect, _Mapping]]] = ..., unanalysable: _Optional[_Iterable[str]] = ..., vocabulary_version: _Optional[str] = ...) -> None: ...

class PermittedEffect(_message.Message):
    __slots__ = ("kind", "target", "max_count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: EffectKind
    target: str
    max_count: int
    def __init__(self, kind: _Optional[_Union[EffectKind, str]] = ..., target: _Optional[str] = ..., max_count: _Optional[int] = ...) -> None: ...

class ObservedEffect(_message.Message):
    __slots__ = ("kind", "target", "count", "bytes", "reversible", "file", "network", "process")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REVERSIBLE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    kind: EffectKind
    target: str
    count: int
    bytes: int
    reversible: bool
    file: FileChange
    network: NetworkChange
    process: ProcessChange
    def __init__(self, kind: _Optional[_Union[EffectKind, str]] = ..., target: _Optional[str] = ..., count: _Optional[int] = ..., bytes: _Optional[int] = ..., reversible: _Optional[bool] = ..., file: _Optional[_Union[FileChange, _Mapping]] = ..., network: _Optional[_Union[NetworkChange, _Mapping]] = ..., process: _Optional[_Union[ProcessChange, _Mapping]] = ...) -> None: ...

class FileState(_message.Message):
    __slots__ = ("type", "size", "mode", "uid", "gid", "sha256", "link_target", "xattrs")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    XATTRS_FIELD_NUMBER: _ClassVar[int]
    type: FileType
    size: int
    mode: int
    uid: int
    gid: int
    sha256: str
    link_target: str
    xattrs: _containers.RepeatedCompositeFieldContainer[FileAttribute]
    def __init__(self, type: _Optional[_Union[FileType, str]] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., sha256: _Optional[str] = ..., link_target: _Optional[str] = ..., xattrs: _Optional[_Iterable[_Union[FileAttribute, _Mapping]]] = ...) -> None: ...

class FileAttribute(_message.Message):
    __slots__ = ("name", "sha256", "shown")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    shown: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., shown: _Optional[str] = ...) -> None: ...

class FileChange(_message.Message):
    __slots__ = ("before", "after", "text_diff", "text_diff_truncated", "renamed", "linked")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TEXT_DIFF_FIELD_NUMBER: _ClassVar[int]
    TEXT_DIFF_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    RENAMED_FIELD_NUMBER: _ClassVar[int]
    LINKED_FIELD_NUMBER: _ClassVar[int]
    before: FileState
    after: FileState
    text_diff: str
    text_diff_truncated: bool
    renamed: str
    linked: str
    def __init__(self, before: _Optional[_Union[FileState, _Mapping]] = ..., after: _Optional[_Union[FileState, _Mapping]] = ..., text_diff: _Optional[str] = ..., text_diff_truncated: _Optional[bool] = ..., renamed: _Optional[str] = ..., linked: _Optional[str] = ...) -> None: ...

class NetworkChange(_message.Message):
    __slots__ = ("protocol", "name", "address", "port", "bytes_sent", "bytes_received", "duration_ns", "count")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    protocol: str
    name: str
    address: str
    port: int
    bytes_sent: int
    bytes_received: int
    duration_ns: int
    count: int
    def __init__(self, protocol: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ..., duration_ns: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class ProcessChange(_message.Message):
    __slots__ = ("program", "arguments", "arguments_truncated", "sha256", "pid", "name")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    program: str
    arguments: _containers.RepeatedScalarFieldContainer[str]
    arguments_truncated: bool
    sha256: str
    pid: int
    name: str
    def __init__(self, program: _Optional[str] = ..., arguments: _Optional[_Iterable[str]] = ..., arguments_truncated: _Optional[bool] = ..., sha256: _Optional[str] = ..., pid: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Unobserved(_message.Message):
    __slots__ = ("kind", "why")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    kind: EffectKind
    why: str
    def __init__(self, kind: _Optional[_Union[EffectKind, str]] = ..., why: _Optional[str] = ...) -> None: ...

class RefusedAttempt(_message.Message):
    __slots__ = ("what", "program", "count")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    what: str
    program: str
    count: int
    def __init__(self, what: _Optional[str] = ..., program: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("effects", "unobserved", "digest", "truncated", "refused", "masked", "masked_count", "looks", "ended", "attempts", "attempts_more")
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    UNOBSERVED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    MASKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_MORE_FIELD_NUMBER: _ClassVar[int]
    effects: _containers.RepeatedCompositeFieldContainer[ObservedEffect]
    unobserved: _containers.RepeatedCompositeFieldContainer[Unobserved]
    digest: str
    truncated: bool
    refused: _containers.RepeatedCompositeFieldContainer[NetworkChange]
    masked: _containers.RepeatedScalarFieldContainer[str]
    masked_count: int
    looks: _containers.RepeatedCompositeFieldContainer[ObservedEffect]
    ended: _containers.RepeatedCompositeFieldContainer[ObservedEffect]
    attempts: _containers.RepeatedCompositeFieldContainer[RefusedAttempt]
    attempts_more: int
    def __init__(self, effects: _Optional[_Iterable[_Union[ObservedEffect, _Mapping]]] = ..., unobserved: _Optional[_Iterable[_Union[Unobserved, _Mapping]]] = ..., digest: _Optional[str] = ..., truncated: _Optional[bool] = ..., refused: _Optional[_Iterable[_Union[NetworkChange, _Mapping]]] = ..., masked: _Optional[_Iterable[str]] = ..., masked_count: _Optional[int] = ..., looks: _Optional[_Iterable[_Union[ObservedEffect, _Mapping]]] = ..., ended: _Optional[_Iterable[_Union[ObservedEffect, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[RefusedAttempt, _Mapping]]] = ..., attempts_more: _Optional[int] = ...) -> None: ...

class SideEffect(_message.Message):
    __slots__ = ("effect", "severity", "why")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    effect: ObservedEffect
    severity: Severity
    why: str
    def __init__(self, effect: _Optional[_Union[ObservedEffect, _Mapping]] = ..., severity: _Optional[_Union[Severity, str]] = ..., why: _Optional[str] = ...) -> None: ...
