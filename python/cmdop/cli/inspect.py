"""`cmdop hosts`, `cmdop tools`, `cmdop doctor`: what there is to work with."""

from __future__ import annotations

import os
import platform

import anyio

from cmdop import __version__
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, print_json, reported, with_client
from cmdop.client import Client
from cmdop.document import host_document, tool_document


def hosts(*, as_json: AsJson = False, server: Server = None) -> int:
    """List the hosts that ever attached, and what each can do."""

    async def act(client: Client) -> int:
        found = await client.hosts.list()
        if as_json:
            print_json([host_document(host) for host in found])
        else:
            from cmdop.cli.output import console, hosts_table

            console().print(hosts_table(found))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def tools(name: str | None = None, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """List the tools, or show one with its schemas.

    Args:
        name: Name of a tool.
    """

    async def act(client: Client) -> int:
        found = await client.tools.list() if name is None else [await client.tools.describe(name)]
        documents = [tool_document(tool) for tool in found]
        if as_json:
            print_json(documents if name is None else documents[0])
        elif name is not None:
            from cmdop.cli.output import console

            console().print_json(data=documents[0])
        else:
            from cmdop.cli.output import console, tools_table

            console().print(tools_table(found))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def doctor(*, as_json: AsJson = False) -> int:
    """Tell what this machine can confine and observe, and how to get what is missing. Needs no server."""

    def examine() -> int:
        from cmdop._bridge import core_version, probe

        capabilities = probe()
        facts = {
            "cmdop": __version__,
            "core": core_version(),
            "python": platform.python_version(),
            "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "user": os.geteuid(),
            "bridge": anyio.run(_bridge_works, backend="trio"),
        }
        if as_json:
            found = [{"name": one.name, "available": one.available, "detail": one.detail} for one in capabilities]
            print_json(facts | {"capabilities": found})
        else:
            from cmdop.cli.output import console, doctor_view

            console().print(doctor_view(facts, capabilities))
        return ExitCode.DONE

    return reported(examine, as_json=as_json)


async def _bridge_works() -> str:
    """Sends a thousand items through the bridge."""
    from cmdop._bridge import Bridge

    with anyio.fail_after(10):
        async with Bridge() as bridge, await bridge.echo(b"doctor", 1000) as stream:
            count = sum([1 async for _ in stream])
    return f"{count} of 1000 items came through"
