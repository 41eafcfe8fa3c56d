"""`cmdop up`, `cmdop server` and `cmdop host join`: the processes that stay."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import anyio
import trio
from cyclopts import Parameter

from cmdop.cli.exit import ExitCode
from cmdop.cli.session import reported
from cmdop.client.client import DEFAULT_ADDRESS
from cmdop.errors import InvalidActionError, InvalidConfigurationError
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
Say: TypeAlias = Callable[[str], None]
"""Prints the line that says that a process is ready."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+:/-]{0,127}")


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
            the machine itself can then be changed. Change it by calls alone while the host runs: it is the
            upper layer of an overlay, which does not notice what is put into it by hand.
        workspace: A directory in which agents may change things; on a fixture an absolute one. Repeat it for more.
        host: Name of the host.
    """

    def run(say: Say) -> None:
        directory = data_directory(data)
        options = partial(
            HostOptions,
            permit_key=directory / "server" / "permit.pub",
            state=directory / "host",
            name=_host_name("--host", host),
            hidden=[directory],
            workspaces=_workspaces(workspace, fixture),
            labels=_labels(label),
            fixture=_fixture(fixture),
        )
        trio.run(_up, directory, listen, options, _policies(policy), say)

    return _serving(run)


def _serving(run: Callable[[Say], None]) -> int:
    """Runs a process that stays. Whatever keeps it from being ready is to be mended first and exits with 2."""
    is_ready = False

    def say(line: str) -> None:
        nonlocal is_ready
        try:
            print(line, flush=True)
        except OSError as error:
            if is_ready:
                # Whoever read the first line may have gone; what runs goes on.
                return
            # What is still in its buffer would fail once more at the exit, and change the code.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
            message = f"nobody can be told that it is ready: standard output cannot be written: {error.strerror}"
            raise InvalidConfigurationError.fix(message, "a standard output that takes a line") from None
        is_ready = True

    code = reported(lambda: run(say) or ExitCode.DONE, as_json=False)
    return code if is_ready or code == ExitCode.DONE else ExitCode.USAGE


async def _up(data: Path, listen: str, options: partial[HostOptions], policy: list[str], say: Say) -> None:
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
        say(f"cmdop ready on {server.address} (host {host.name}, data {data})")


def server(*, data: Path | None = None, listen: str = DEFAULT_ADDRESS, policy: Policies = None) -> int:
    """Start a server; hosts join it with `cmdop host join`. SIGTERM drains it, SIGHUP reloads its policy.

    Args:
        data: Directory of policies, ledger and keys. [default: ~/.local/share/cmdop]
        listen: Address to listen on; port 0 picks a free one. Only loopback addresses are accepted.
    """
    from cmdop.server import serve_until_signal

    directory = data_directory(data)

    async def inner(say: Say) -> None:
        await serve_until_signal(
            directory,
            listen,
            lambda server: say(f"cmdop server ready on {server.address} (data {directory})"),
            _policies(policy),
        )

    return _serving(lambda say: anyio.run(inner, say, backend="trio"))


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
        workspace: A directory in which agents may change things; on a fixture an absolute one. Repeat it for more.
        fixture: A directory tree presented at its place in the file system.
        hide: A directory that no tool may see, such as the data of a server on this machine. Repeat it for more.
    """
    from cmdop.host.process import run

    def join(say: Say) -> None:
        options = HostOptions(
            server=server or os.environ.get("CMDOP_ADDRESS") or DEFAULT_ADDRESS,
            permit_key=permit_key.absolute(),
            state=(state or data_directory(None) / "host").absolute(),
            name=_host_name("--name", name or socket.gethostname()),
            workspaces=_workspaces(workspace, fixture),
            labels=_labels(label),
            hidden=[path.absolute() for path in hide or []],
            fixture=_fixture(fixture),
        )

        def attached(is_attached: bool, why: str) -> None:
            said = f"attached to {options.server}" if is_attached else f"detached: {why}"
            say(f"cmdop host {options.name} {said}")

        run(options, attached)

    return _serving(join)


def _host_name(option: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        message = f"{option} {name} is no name of a host"
        raise InvalidActionError.fix(
            message, "1 to 128 ASCII letters, digits and `. _ @ + : / -`, the first a letter, a digit or `_`"
        )
    return name


def _fixture(fixture: Path | None) -> Path | None:
    if fixture is not None and not fixture.is_dir():
        raise InvalidActionError.fix(f"--fixture {fixture} is not a directory", "a directory tree")
    return None if fixture is None else fixture.absolute()


def _labels(pairs: list[str] | None) -> dict[str, str]:
    given = [pair.partition("=") for pair in pairs or []]
    for name, separator, _ in given:
        if not (name and separator):
            raise InvalidActionError.fix(f"--label {name} is not NAME=VALUE", "NAME=VALUE")
    return {name: value for name, _, value in given}


def _policies(policy: list[str] | None) -> list[str]:
    """Packs as they are, files by their absolute path: a reload finds them wherever the process is by then."""
    return [name if is_pack(name) else os.path.abspath(name) for name in policy or []]


def data_directory(data: Path | None) -> Path:
    """Where a server keeps everything, unless it is told otherwise."""
    home = os.environ.get("XDG_DATA_HOME")
    default = Path(home) if home else Path.home() / ".local" / "share"
    return (data or default / "cmdop").absolute()


def _workspaces(paths: list[str] | None, fixture: Path | None) -> list[str]:
    """Absolute paths. A relative one starts at the current directory, which is no place of a fixture."""
    given = paths or []
    if fixture is None:
        return [os.path.abspath(path) for path in given]
    for path in given:
        if not path.startswith("/"):
            message = f"--workspace {path} is relative, and a fixture has no current directory"
            raise InvalidActionError.fix(message, "an absolute directory as it is in the fixture, such as /srv/app")
    return given
