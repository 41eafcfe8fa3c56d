"""An OpenTelemetry collector on loopback: it decodes what it is sent, as a real one does."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What has arrived."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.endpoint = ""
        self.status = 200
        """What it answers."""
        self.drips = False
        """Whether its answers come a byte at a time, and never end."""
        self.dripped: list[float] = []
        """How long each of those was listened to."""
        self.stopped = threading.Event()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int, *, seconds: float = 20) -> list[Span]:
        deadline = time.monotonic() + seconds
        while len(self.named(name)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.named(name)


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in span.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def collecting() -> Generator[Collector]:
    """A collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces", self.path
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if collector.status == 200:
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
            if collector.drips:
                self.drip()
                return
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def drip(self) -> None:
            began = time.monotonic()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not collector.stopped.wait(0.1):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    break
            collector.dripped.append(time.monotonic() - began)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.stopped.set()
        server.shutdown()
        server.server_close()
