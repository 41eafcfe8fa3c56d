"""`cmdop policy show` and `reload`: what a server decides by."""

from __future__ import annotations

from typing import Any

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, print_json, with_client
from cmdop.client import Client
from cmdop.document import time_text


def show_policy(*, as_json: AsJson = False, server: Server = None) -> int:
    """Show the policy of a server: version, files and packs, groups and labels."""

    async def act(client: Client) -> int:
        return _print_status(await client.policies.get(), as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


def reload_policy(*, as_json: AsJson = False, server: Server = None) -> int:
    """Have a server read its policy files anew. A broken file is named, and the policy stays as it was."""

    async def act(client: Client) -> int:
        return _print_status(await client.policies.reload(), as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


def status_document(status: v1.PolicyStatus) -> dict[str, Any]:
    """A policy as JSON."""
    entities = status.entities
    return {
        "version": status.version,
        "loaded_at": time_text(status.loaded_at),
        "files": [{"name": file.name, "pack": file.pack or None, "text": file.text} for file in status.files],
        "groups": {
            "users": {name: [*members.names] for name, members in entities.user_groups.items()},
            "agents": {name: [*members.names] for name, members in entities.agent_groups.items()},
            "hosts": {name: [*members.names] for name, members in entities.host_groups.items()},
        },
        "host_labels": {host: dict(labels.labels) for host, labels in entities.host_labels.items()},
        "warnings": [*status.warnings],
    }


def _print_status(status: v1.PolicyStatus, *, as_json: bool) -> int:
    if as_json:
        print_json(status_document(status))
        return ExitCode.DONE
    from cmdop.cli.output import console

    lines = [f"policy {status.version[:16]}, loaded {time_text(status.loaded_at)}"]
    lines += [f"  {file.name}{' (a pack of cmdop)' if file.pack else ''}" for file in status.files]
    lines += [f"  warning: {warning}" for warning in status.warnings]
    console().print("\n".join(lines), markup=False, highlight=False)
    return ExitCode.DONE
