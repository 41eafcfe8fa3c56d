"""`cmdop trace`: everything recorded about a call or a run."""

from __future__ import annotations

from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, print_json, with_client
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
