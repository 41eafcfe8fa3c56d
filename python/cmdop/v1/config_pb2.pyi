from cmdop.v1 import call_pb2 as _call_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyFile(_message.Message):
    __slots__ = ("name", "text", "pack")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    pack: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., pack: _Optional[str] = ...) -> None: ...

class Names(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class Labels(_message.Message):
    __slots__ = ("labels",)
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PolicyEntities(_message.Message):
    __slots__ = ("user_groups", "agent_groups", "host_groups", "host_labels")
    class UserGroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Names
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Names, _Mapping]] = ...) -> None: ...
    class AgentGroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Names
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Names, _Mapping]] = ...) -> None: ...
    class HostGroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Names
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Names, _Mapping]] = ...) -> None: ...
    class HostLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Labels
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Labels, _Mapping]] = ...) -> None: ...
    USER_GROUPS_FIELD_NUMBER: _ClassVar[int]
    AGENT_GROUPS_FIELD_NUMBER: _ClassVar[int]
    HOST_GROUPS_FIELD_NUMBER: _ClassVar[int]
    HOST_LABELS_FIELD_NUMBER: _ClassVar[int]
    user_groups: _containers.MessageMap[str, Names]
    agent_groups: _containers.MessageMap[str, Names]
    host_groups: _containers.MessageMap[str, Names]
    host_labels: _containers.MessageMap[str, Labels]
    def __init__(self, user_groups: _Optional[_Mapping[str, Names]] = ..., agent_groups: _Optional[_Mapping[str, Names]] = ..., host_groups: _Optional[_Mapping[str, Names]] = ..., host_labels: _Optional[_Mapping[str, Labels]] = ...) -> None: ...

class KnownApprover(_message.Message):
    __slots__ = ("name", "token_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    token_sha256: bytes
    def __init__(self, name: _Optional[str] = ..., token_sha256: _Optional[bytes] = ...) -> None: ...

class PolicySet(_message.Message):
    __slots__ = ("files", "entities", "approvers", "autonomy")
    FILES_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    AUTONOMY_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[PolicyFile]
    entities: PolicyEntities
    approvers: _containers.RepeatedCompositeFieldContainer[KnownApprover]
    autonomy: AutonomyConfig
    def __init__(self, files: _Optional[_Iterable[_Union[PolicyFile, _Mapping]]] = ..., entities: _Optional[_Union[PolicyEntities, _Mapping]] = ..., approvers: _Optional[_Iterable[_Union[KnownApprover, _Mapping]]] = ..., autonomy: _Optional[_Union[AutonomyConfig, _Mapping]] = ...) -> None: ...

class AutonomyConfig(_message.Message):
    __slots__ = ("default_level", "agents")
    class AgentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _call_pb2.AutonomyLevel
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_call_pb2.AutonomyLevel, str]] = ...) -> None: ...
    DEFAULT_LEVEL_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    default_level: _call_pb2.AutonomyLevel
    agents: _containers.ScalarMap[str, _call_pb2.AutonomyLevel]
    def __init__(self, default_level: _Optional[_Union[_call_pb2.AutonomyLevel, str]] = ..., agents: _Optional[_Mapping[str, _call_pb2.AutonomyLevel]] = ...) -> None: ...

class ServerConfig(_message.Message):
    __slots__ = ("data_dir", "listen", "policies", "autonomy", "vocabulary_version", "approval_ttl_ms", "permit_ttl_ms", "judgement_ttl_ms", "max_open_calls", "max_frame_bytes", "host_grace_ms", "drain_ms", "entities", "approvers")
    DATA_DIR_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    AUTONOMY_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    PERMIT_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOST_GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_MS_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    data_dir: str
    listen: str
    policies: _containers.RepeatedCompositeFieldContainer[PolicyFile]
    autonomy: AutonomyConfig
    vocabulary_version: str
    approval_ttl_ms: int
    permit_ttl_ms: int
    judgement_ttl_ms: int
    max_open_calls: int
    max_frame_bytes: int
    host_grace_ms: int
    drain_ms: int
    entities: PolicyEntities
    approvers: _containers.RepeatedCompositeFieldContainer[KnownApprover]
    def __init__(self, data_dir: _Optional[str] = ..., listen: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[PolicyFile, _Mapping]]] = ..., autonomy: _Optional[_Union[AutonomyConfig, _Mapping]] = ..., vocabulary_version: _Optional[str] = ..., approval_ttl_ms: _Optional[int] = ..., permit_ttl_ms: _Optional[int] = ..., judgement_ttl_ms: _Optional[int] = ..., max_open_calls: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., host_grace_ms: _Optional[int] = ..., drain_ms: _Optional[int] = ..., entities: _Optional[_Union[PolicyEntities, _Mapping]] = ..., approvers: _Optional[_Iterable[_Union[KnownApprover, _Mapping]]] = ...) -> None: ...

class HostConfig(_message.Message):
    __slots__ = ("name", "server", "state_dir", "permit_key", "workspaces", "labels", "fixture", "max_output_bytes", "max_running", "hidden")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    STATE_DIR_FIELD_NUMBER: _ClassVar[int]
    PERMIT_KEY_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FIXTURE_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    server: str
    state_dir: str
    permit_key: bytes
    workspaces: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    fixture: str
    max_output_bytes: int
    max_running: int
    hidden: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., server: _Optional[str] = ..., state_dir: _Optional[str] = ..., permit_key: _Optional[bytes] = ..., workspaces: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., fixture: _Optional[str] = ..., max_output_bytes: _Optional[int] = ..., max_running: _Optional[int] = ..., hidden: _Optional[_Iterable[str]] = ...) -> None: ...

class ClientConfig(_message.Message):
    __slots__ = ("address", "connect_timeout_ms", "max_frame_bytes", "token")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    address: str
    connect_timeout_ms: int
    max_frame_bytes: int
    token: str
    def __init__(self, address: _Optional[str] = ..., connect_timeout_ms: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...
