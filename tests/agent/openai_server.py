"""A server that speaks OpenAI's API over real HTTP, and refuses what the real one refuses.

It answers a script: the nth question gets the nth reply, in the events of whichever API was asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.agent.openai_events import chat_events, response_events

KEY = "sk-test-1"


@dataclass(frozen=True)
class Turn:
    """What the model says in one turn."""

    text: str = ""
    calls: Sequence[tuple[str, str, str]] = ()
    """Call id, function, arguments as JSON text."""
    reasoning: str = ""
    """Encrypted reasoning before everything else; the Responses API only."""
    refusal: str = ""
    tokens: tuple[int, int] = (11, 7)
    ends: str = "stop"
    """`stop`, or why the answer is incomplete: `length`, `content_filter`, or `failed`."""


@dataclass(frozen=True)
class Cut:
    """The connection is lost after some events of a turn."""

    turn: Turn
    events: int


@dataclass(frozen=True)
class Status:
    """An error instead of an answer."""

    code: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = None


@dataclass(frozen=True)
class Raw:
    """These bytes as the stream, whatever they are."""

    body: bytes


@dataclass(frozen=True)
class Silence:
    """No answer while the server runs."""


Reply = Turn | Cut | Status | Raw | Silence


@dataclass(frozen=True)
class Asked:
    """A question as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ApiServer:
    """The running server: where it is, and what it was asked."""

    def __init__(self, replies: Sequence[Reply], port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.asked: list[Asked] = []
        self._replies = list(replies)
        self._lock = threading.Lock()
        self.closed = threading.Event()

    def take(self, asked: Asked) -> Reply:
        """Notes a question, and gives the reply that is due."""
        with self._lock:
            self.asked.append(asked)
            if asked.headers.get("authorization") != f"Bearer {KEY}":
                return Status(401, "Incorrect API key provided: sk-wrong.")
            fault = fault_in(asked)
            if fault:
                return Status(400, fault)
            return self._replies.pop(0) if self._replies else Status(400, "the script is over")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all questions."""
        return [asked.body for asked in self.asked]


@contextmanager
def api_server(*replies: Reply) -> Iterator[ApiServer]:
    """Serves a script on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.path, headers, json.loads(self.rfile.read(length)))
            try:
                _answer(self, server, asked)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # The client went away, as a cancelled one does.

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = ApiServer(replies, http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        http.shutdown()
        thread.join()
        http.server_close()


def _answer(http: BaseHTTPRequestHandler, server: ApiServer, asked: Asked) -> None:
    match server.take(asked):
        case Status(code, message, headers, param):
            error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
            body = json.dumps({"error": error}).encode()
            http.send_response(code)
            for name, value in {
                "content-type": "application/json",
                "content-length": str(len(body)),
                **headers,
            }.items():
                http.send_header(name, value)
            http.end_headers()
            http.wfile.write(body)
        case Silence():
            http.close_connection = True
            server.closed.wait()
        case Raw(body):
            _begin(http)
            _chunk(http, body)
            _chunk(http, b"")
        case Cut(turn, events):
            _begin(http)
            for event in _events(asked, turn)[:events]:
                _chunk(http, event)
            http.close_connection = True  # Without the last chunk: lost in the middle.
        case Turn() as turn:
            _begin(http)
            for event in _events(asked, turn):
                _chunk(http, event)
            _chunk(http, b"")


def _events(asked: Asked, turn: Turn) -> list[bytes]:
    of_api = response_events if asked.path.endswith("/responses") else chat_events
    return of_api(asked.body["model"], turn)


def _begin(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("content-type", "text/event-stream; charset=utf-8")
    http.send_header("transfer-encoding", "chunked")
    http.end_headers()


def _chunk(http: BaseHTTPRequestHandler, data: bytes) -> None:
    http.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    http.wfile.flush()


def fault_in(asked: Asked) -> str:
    """What the real API answers 400 for: schemas that are not strict, calls and results that do not match."""
    for tool in asked.body.get("tools", []):
        function = tool if asked.path.endswith("/responses") else tool["function"]
        fault = _not_strict(function["parameters"], function["name"]) if function["strict"] else ""
        if fault:
            return f"Invalid schema for function '{function['name']}': {fault}"
    if asked.path.endswith("/responses"):
        return _unmatched(asked.body["input"])
    return _unmatched_messages(asked.body["messages"])


def _not_strict(schema: dict[str, Any], place: str) -> str:
    known = {"type", "description", "enum", "pattern", "minimum", "maximum", "items", "properties", "required"}
    unknown = set(schema) - known - {"additionalProperties"}
    if unknown:
        return f"In context={place}, {sorted(unknown)} is not permitted."
    if "type" not in schema:
        return f"In context={place}, schema must have a 'type' key."
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "object" in types:
        if schema.get("additionalProperties") is not False:
            return f"In context={place}, 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required", [])) != set(schema["properties"]):
            return f"In context={place}, 'required' is required to be supplied and to hold every key in properties."
    if "array" in types and "items" not in schema:
        return f"In context={place}, array schema missing items."
    inner = {**schema.get("properties", {}), **({"items": schema["items"]} if "items" in schema else {})}
    return next((fault for name, each in inner.items() if (fault := _not_strict(each, f"{place}/{name}"))), "")


def _unmatched(items: list[dict[str, Any]]) -> str:
    open_calls: set[str] = set()
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            open_calls.add(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in open_calls:
                return f"No tool call found for function call output with call_id {item['call_id']}."
            open_calls.remove(item["call_id"])
        elif kind == "reasoning":
            if not item.get("encrypted_content"):
                return f"Item '{item.get('id')}' not found. Items are not persisted when `store` is set to false."
            if items[place + 1].get("type", "message") not in ("function_call", "message", "reasoning"):
                return f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
    return f"No tool output found for function call {min(open_calls)}." if open_calls else ""


def _unmatched_messages(messages: list[dict[str, Any]]) -> str:
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return f"Invalid parameter: messages[{place}] answers no tool_calls."
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            break
        open_calls |= {call["id"] for call in message.get("tool_calls", [])}
    missing = f"tool_call_ids did not have response messages: {', '.join(sorted(open_calls))}"
    return f"An assistant message with 'tool_calls' must be followed by tool messages: {missing}" if open_calls else ""
