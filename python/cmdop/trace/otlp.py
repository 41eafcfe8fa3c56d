"""Spans to a collector over OTLP/HTTP, by OpenTelemetry's own exporter. Needs the extra `otlp`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from cmdop import __version__, v1
from cmdop.errors import InvalidConfigurationError, UnreachableError
from cmdop.trace.conventions import ERROR_TYPE, SCHEMA_URL
from cmdop.trace.spans import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where a collector is, as every OpenTelemetry program reads it; the first one is used as it is."""

_LOGGER: Final = "opentelemetry.exporter.otlp"
"""Under this name OpenTelemetry's exporters log."""

TIMEOUT_S: Final = 10.0
"""How long one export may take, with its repetitions."""


def endpoint_from_environment() -> str | None:
    """Where traces go, or None if no collector is configured."""
    traces, base = (os.environ.get(name, "").strip() for name in ENDPOINT_VARIABLES)
    return traces or (with_path(base) if base else None)


def with_path(endpoint: str) -> str:
    """An endpoint with the path of traces; one that has it already stays as it is."""
    return endpoint if endpoint.rstrip("/").endswith("/v1/traces") else f"{endpoint.rstrip('/')}/v1/traces"


class _Heard(logging.Handler):
    """Keeps what the exporter says last, to be part of the one error that a command prints.

    Whoever configured logging hears it as before.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class Exporter:
    """Sends spans to one endpoint. Headers, certificates and the service's name come from `OTEL_*`.

    Args:
        endpoint: URL that takes `POST` of traces.

    Raises:
        InvalidConfigurationError: The extra `otlp` is not installed, or the endpoint is no URL.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource

            from cmdop.trace.timed import TimedSession
        except ImportError as error:
            raise InvalidConfigurationError.fix(
                f"traces cannot be exported to {endpoint}: {error.name or error} is not installed",
                "the extra, as by `pip install 'cmdop[otlp]'`, or no OTEL_EXPORTER_OTLP_ENDPOINT",
            ) from None
        if not endpoint.startswith(("http://", "https://")):
            raise InvalidConfigurationError.fix(
                f"`{endpoint}` is no endpoint for traces", "a URL such as http://127.0.0.1:4318"
            )
        self.endpoint: str = endpoint
        """Where it sends."""
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "cmdop"}
        self._resource = Resource.create(named | {"service.version": __version__})
        self._session = TimedSession()
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S, session=self._session)
        self._heard = _Heard()
        logging.getLogger(_LOGGER).addHandler(self._heard)

    async def export(self, spans: Sequence[Span]) -> None:
        """Sends spans in one request, from a thread of its own.

        Raises:
            UnreachableError: The collector did not take them.
        """
        if not spans:
            return
        taken = await anyio.to_thread.run_sync(partial(self._send, spans), abandon_on_cancel=True)
        if not taken:
            why = f"no whole answer within {TIMEOUT_S:g} s" if self._session.is_over else self._heard.last
            proto = v1.Error(
                reason=v1.Reason.REASON_UNREACHABLE,
                message=f"the collector at {self.endpoint} did not take {len(spans)} spans: {why}",
                remedy=v1.Remedy(retry_after=v1.RetryAfter(ms=1000)),
            )
            raise UnreachableError(proto.message, proto=proto)

    def close(self) -> None:
        """Lets go of the connection, and of a request that nobody waits for."""
        self._session.cut()
        self._exporter.shutdown()
        logging.getLogger(_LOGGER).removeHandler(self._heard)

    def _send(self, spans: Sequence[Span]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        with self._session.within(TIMEOUT_S):
            result = self._exporter.export([_readable(span, self._resource) for span in spans])
            # Headers that are cut off read like a whole answer without a body.
            return result is SpanExportResult.SUCCESS and not self._session.is_over


def _readable(span: Span, resource: Any) -> ReadableSpan:
    """A span in the form that exporters take."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: int) -> SpanContext:
        return SpanContext(span.trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    is_error = bool(span.error) or ERROR_TYPE in span.attributes
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=None if span.parent_id is None else context(span.parent_id),
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.CLIENT if span.is_client else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if is_error else Status(StatusCode.OK),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope("cmdop", __version__, SCHEMA_URL),
    )
