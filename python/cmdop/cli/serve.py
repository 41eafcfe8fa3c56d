"""`cmdop up`, `cmdop server` and `cmdop host join`: the processes that stay."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import anyio
import trio
from cyclopts import Parameter

from cmdop.cli.exit import ExitCode
from cmdop.cli.session import reported, usage_error
from cmdop.client.client import DEFAULT_ADDRESS
from cmdop.host.process import HostOptions
from cmdop.policy.sources import is_pack

Policies: TypeAlias = Annotated[
    list[str] | None,
    Parameter(
        name="--policy",
        negative="",
        help="A pack (workspace, read-only, production, ci) or a Cedar file. Repeat it for more. "
        "[default: DATA/policies/*.cedar, else workspace]",
    ),
]
Labels: TypeAlias = Annotated[
    list[str] | None,
    Parameter(name="--label", negative="", help="NAME=VALUE, for policies to speak about. Repeat it for more."),
]


def up(
    *,
    data: Path | None = None,
    listen: str = DEFAULT_ADDRESS,
    fixture: Path | None = None,
    workspace: Annotated[list[str] | None, Parameter(negative="")] = None,
    label: Labels = None,
    policy: Policies = None,
    host: str = "local",
) -> int:
    """Start a server and a host on this machine. SIGTERM drains both, SIGHUP reads the policy anew.

    Prints one line when both are ready: `cmdop ready on ADDRESS (host NAME, data DIR)`.

    Args:
        data: Directory of policies, ledger and keys. [default: ~/.local/share/cmdop]
        listen: Address to listen on; port 0 picks a free one.
        fixture: A directory tree that the host presents at its place in the file system; nothing of
            the machine itself can then be changed.
        workspace: A directory in which agents may change things. Repeat it for more.
        host: Name of the host.
    """
    directory = _data(data)
    options = partial(
        HostOptions,
        permit_key=directory / "server" / "permit.pub",
        state=directory / "host",
        name=host,
        hidden=[directory],
        workspaces=_workspaces(workspace, fixture),
        labels=_labels(label),
        fixture=None if fixture is None else fixture.absolute(),
    )
    if fixture is not None and not fixture.is_dir():
        return usage_error(f"--fixture {fixture} is not a directory", as_json=False)
    return reported(
        lambda: trio.run(_up, directory, listen, options, _policies(policy)) or ExitCode.DONE, as_json=False
    )


async def _up(data: Path, listen: str, options: partial[HostOptions], policy: list[str]) -> None:
    from cmdop.drain import drain_on_signal
    from cmdop.host.supervisor import supervise
    from cmdop.server import serve

    async with serve(data, listen, policy) as server, trio.open_nursery() as nursery:

        async def end_with_server() -> None:
            await server.finished()
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_with_server)
        await nursery.start(drain_on_signal, server.drain)
        await nursery.start(server.reload_on_signal)
        host = options(server=server.address)
        await nursery.start(partial(supervise, host, is_draining=lambda: server.is_draining))
        print(f"cmdop ready on {server.address} (host {host.name}, data {data})", flush=True)


def server(*, data: Path | None = None, listen: str = DEFAULT_ADDRESS, policy: Policies = None) -> int:
    """Start a server; hosts join it with `cmdop host join`. SIGTERM drains it, SIGHUP reloads its policy.

    Args:
        data: Directory of policies, ledger and keys. [default: ~/.local/share/cmdop]
        listen: Address to listen on; port 0 picks a free one. Only loopback addresses are accepted.
    """
    from cmdop.server import serve_until_signal

    directory = _data(data)

    async def inner() -> None:
        await serve_until_signal(
            directory,
            listen,
            lambda server: print(f"cmdop server ready on {server.address} (data {directory})", flush=True),
            _policies(policy),
        )

    return reported(lambda: anyio.run(inner, backend="trio") or ExitCode.DONE, as_json=False)


def host_join(
    *,
    permit_key: Path,
    server: Annotated[str | None, Parameter(help="Address of the server. [env: CMDOP_ADDRESS]")] = None,
    name: str | None = None,
    state: Path | None = None,
    workspace: Annotated[list[str] | None, Parameter(negative="")] = None,
    label: Labels = None,
    fixture: Path | None = None,
    hide: Annotated[list[Path] | None, Parameter(negative="")] = None,
) -> int:
    """Run a host on this machine and keep it attached to a server. SIGTERM drains it.

    Args:
        permit_key: The server's verifying key; the server keeps it in DATA/server/permit.pub.
        name: Name of the host. [default: the machine's name]
        state: Directory of the host's own ledger. [default: ~/.local/share/cmdop/host]
        workspace: A directory in which agents may change things. Repeat it for more.
        fixture: A directory tree presented at its place in the file system.
        hide: A directory that no tool may see, such as the data of a server on this machine. Repeat it for more.
    """
    from cmdop.host.process import run

    options = HostOptions(
        server=server or os.environ.get("CMDOP_ADDRESS") or DEFAULT_ADDRESS,
        permit_key=permit_key.absolute(),
        state=(state or _data(None) / "host").absolute(),
        name=name or socket.gethostname(),
        workspaces=_workspaces(workspace, fixture),
        labels=_labels(label),
        hidden=[path.absolute() for path in hide or []],
        fixture=None if fixture is None else fixture.absolute(),
    )

    def attached(is_attached: bool, why: str) -> None:
        state = f"attached to {options.server}" if is_attached else f"detached: {why}"
        print(f"cmdop host {options.name} {state}", flush=True)

    return reported(lambda: run(options, attached) or ExitCode.DONE, as_json=False)


def _labels(pairs: list[str] | None) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs or [])}


def _policies(policy: list[str] | None) -> list[str]:
    """Packs as they are, files by their absolute path: a reload finds them wherever the process is by then."""
    return [name if is_pack(name) else os.path.abspath(name) for name in policy or []]


def _data(data: Path | None) -> Path:
    home = os.environ.get("XDG_DATA_HOME")
    default = Path(home) if home else Path.home() / ".local" / "share"
    return (data or default / "cmdop").absolute()


def _workspaces(paths: list[str] | None, fixture: Path | None) -> list[str]:
    """Absolute paths. On a fixture a relative one would mean nothing and is left for the host to refuse."""
    given = paths or []
    return given if fixture is not None else [os.path.abspath(path) for path in given]
