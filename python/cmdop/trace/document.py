"""The JSON form of a trace."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from cmdop import v1
from cmdop.document import Document, call_document, run_document, time_text


def trace_document(trace: v1.Trace) -> Document:
    """A trace as plain data: `{run, calls, events}`.

    Each event has `at` (RFC 3339), `subject`, `kind` and its content under the wire's field names;
    `after_ms` is the time since the event before it of the same subject.
    """
    last: dict[str, int] = {}
    events: list[dict[str, Any]] = []
    for event in trace.events:
        kind = event.WhichOneof("kind") or "unknown"
        content = getattr(event, kind, None)
        events.append(
            {
                "at": time_text(event.at),
                "subject": event.subject,
                "kind": kind,
                "after_ms": round((event.at - last.get(event.subject, event.at)) / 1e6, 3),
                "content": MessageToDict(content, preserving_proto_field_name=True) if content is not None else {},
            }
        )
        last[event.subject] = event.at
    run = run_document(trace.run) if trace.HasField("run") else None
    return {"run": run, "calls": [call_document(call) for call in trace.calls], "events": events}
