"""`cmdop trace`: everything recorded about a call or a run."""

from __future__ import annotations

from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, print_json, usage_error, with_client
from cmdop.client import Client


def show_trace(id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show everything recorded about a call or a run, as one tree.

    Args:
        id: Id of a call or a run.
    """

    async def act(client: Client) -> int:
        from cmdop.trace import trace_document, trace_tree

        trace = await client.traces.get(id)
        if as_json:
            print_json(trace_document(trace))
        else:
            from cmdop.cli.output import console

            console().print(trace_tree(trace))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def export_trace(id: str, /, *, endpoint: str | None = None, as_json: AsJson = False, server: Server = None) -> int:
    """Send the trace of a call or a run to an OpenTelemetry collector, as OTLP over HTTP.

    Args:
        id: Id of a call or a run.
        endpoint: Of the collector, such as http://127.0.0.1:4318; needs the extra `otlp`.
            [env: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]
    """
    from cmdop.trace.otlp import Exporter, endpoint_from_environment, with_path
    from cmdop.trace.spans import trace_spans

    where = with_path(endpoint) if endpoint else endpoint_from_environment()
    if where is None:
        return usage_error(
            "no collector is configured: give --endpoint or set OTEL_EXPORTER_OTLP_ENDPOINT", as_json=as_json
        )

    async def act(client: Client) -> int:
        exporter = Exporter(where)
        try:
            spans = trace_spans(await client.traces.get(id))
            await exporter.export(spans)
        finally:
            exporter.close()
        if as_json:
            print_json({"endpoint": where, "spans": len(spans), "trace_id": f"{spans[0].trace_id:032x}"})
        else:
            print(f"{len(spans)} spans of trace {spans[0].trace_id:032x} sent to {where}")
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)
