from cmdop.v1 import action_pb2 as _action_pb2
from cmdop.v1 import call_pb2 as _call_pb2
from cmdop.v1 import error_pb2 as _error_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClientHello(_message.Message):
    __slots__ = ("min_protocol", "max_protocol", "client")
    MIN_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MAX_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    min_protocol: int
    max_protocol: int
    client: str
    def __init__(self, min_protocol: _Optional[int] = ..., max_protocol: _Optional[int] = ..., client: _Optional[str] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("actor", "credits")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    actor: _action_pb2.Actor
    credits: int
    def __init__(self, actor: _Optional[_Union[_action_pb2.Actor, _Mapping]] = ..., credits: _Optional[int] = ...) -> None: ...

class SessionProposal(_message.Message):
    __slots__ = ("request_id", "proposal", "follow_output", "report_held")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REPORT_HELD_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    proposal: _action_pb2.Proposal
    follow_output: bool
    report_held: bool
    def __init__(self, request_id: _Optional[int] = ..., proposal: _Optional[_Union[_action_pb2.Proposal, _Mapping]] = ..., follow_output: _Optional[bool] = ..., report_held: _Optional[bool] = ...) -> None: ...

class GrantCredits(_message.Message):
    __slots__ = ("credits",)
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    credits: int
    def __init__(self, credits: _Optional[int] = ...) -> None: ...

class CloseSession(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ping(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class ClientFrame(_message.Message):
    __slots__ = ("session", "hello", "open", "propose", "grant", "close", "ping")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    session: int
    hello: ClientHello
    open: OpenSession
    propose: SessionProposal
    grant: GrantCredits
    close: CloseSession
    ping: Ping
    def __init__(self, session: _Optional[int] = ..., hello: _Optional[_Union[ClientHello, _Mapping]] = ..., open: _Optional[_Union[OpenSession, _Mapping]] = ..., propose: _Optional[_Union[SessionProposal, _Mapping]] = ..., grant: _Optional[_Union[GrantCredits, _Mapping]] = ..., close: _Optional[_Union[CloseSession, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ...) -> None: ...

class SessionWelcome(_message.Message):
    __slots__ = ("protocol", "server_version", "max_frame_bytes", "max_sessions")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    server_version: str
    max_frame_bytes: int
    max_sessions: int
    def __init__(self, protocol: _Optional[int] = ..., server_version: _Optional[str] = ..., max_frame_bytes: _Optional[int] = ..., max_sessions: _Optional[int] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionUpdate(_message.Message):
    __slots__ = ("request_id", "call", "output", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    call: _call_pb2.Call
    output: _call_pb2.Output
    error: _error_pb2.Error
    def __init__(self, request_id: _Optional[int] = ..., call: _Optional[_Union[_call_pb2.Call, _Mapping]] = ..., output: _Optional[_Union[_call_pb2.Output, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class SessionClosed(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: _error_pb2.Error
    def __init__(self, error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class ServerFrame(_message.Message):
    __slots__ = ("session", "sequence", "welcome", "opened", "update", "closed", "pong")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    session: int
    sequence: int
    welcome: SessionWelcome
    opened: SessionOpened
    update: SessionUpdate
    closed: SessionClosed
    pong: Pong
    def __init__(self, session: _Optional[int] = ..., sequence: _Optional[int] = ..., welcome: _Optional[_Union[SessionWelcome, _Mapping]] = ..., opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., update: _Optional[_Union[SessionUpdate, _Mapping]] = ..., closed: _Optional[_Union[SessionClosed, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ...) -> None: ...
