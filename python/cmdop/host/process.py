"""The life of a host process.

The order matters: the fixture and the spawner need a process without threads, so both come before
the core's runtime and the event loop.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from cmdop import v1
from cmdop._bridge import CoreHost, Spawner, die_with_parent, enter_fixture, start_logging, start_spawner
from cmdop.drain import drain_on_signal
from cmdop.errors import InvalidConfigurationError

OWN_PATH_LABEL: Final = "cmdop.path."
"""Labels of this form tell the policy floor which directories are cmdop's own."""


@dataclass(frozen=True)
class HostOptions:
    """What a host process is told."""

    server: str
    """Address of the server that it dials."""
    permit_key: Path
    """File with the verifying key of that server's permits, in hex."""
    state: Path
    """Directory of the host's own ledger and layers."""
    name: str = field(default_factory=socket.gethostname)
    """Under which it attaches."""
    workspaces: Sequence[str] = ()
    """Absolute directories in which agents may change things under the default policy."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """For policies to speak about."""
    fixture: Path | None = None
    """A directory tree presented at its place in the file system."""
    hidden: Sequence[Path] = ()
    """Directories beside `state` that no tool sees and no policy lets change: a server's data, with its key."""
    parent: int | None = None
    """Process that this one ends with."""

    def to_proto(self) -> v1.HostConfig:
        """As the core takes it.

        Raises:
            InvalidConfigurationError: A workspace is not absolute, a label is reserved, or the key cannot be read.
        """
        relative = [path for path in self.workspaces if not path.startswith("/")]
        if relative:
            raise InvalidConfigurationError(f"workspaces must be absolute paths; {', '.join(relative)} is not")
        reserved = [name for name in self.labels if name.startswith(OWN_PATH_LABEL)]
        if reserved:
            raise InvalidConfigurationError(f"labels `{OWN_PATH_LABEL}…` are cmdop's own; rename {', '.join(reserved)}")
        # The host keeps tools from these directories; by the labels policy knows them, too, and says why.
        own = {f"{OWN_PATH_LABEL}{number}": str(path) for number, path in enumerate((self.state, *self.hidden))}
        return v1.HostConfig(
            name=self.name,
            server=self.server,
            state_dir=str(self.state),
            permit_key=read_key(self.permit_key),
            workspaces=self.workspaces,
            labels={**self.labels, **own},
            fixture="" if self.fixture is None else str(self.fixture),
            hidden=[str(path) for path in self.hidden],
        )


def read_key(path: Path) -> bytes:
    """A verifying key, as a server leaves it.

    Raises:
        InvalidConfigurationError: There is none, or it is not 32 bytes in hex.
    """
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise InvalidConfigurationError(
            f"the permit key {path} cannot be read: {error}; copy it from the server"
        ) from None
    if len(key) != 32:
        raise InvalidConfigurationError(f"the permit key {path} must be 32 bytes in hex, it has {len(key)}")
    return key


def run(options: HostOptions, attached: Callable[[bool, str], None]) -> None:
    """Runs a host until SIGTERM or SIGINT drains it. Call it before the process has threads.

    Args:
        options: What to run.
        attached: Hears when it attaches (True) and detaches (False), and why.

    Raises:
        CmdopError: It cannot run here; the message says what to do.
    """
    if options.parent is not None:
        die_with_parent(options.parent)
    # Whoever keeps this host as a child hears of its attachments, and knows which end was asked for.
    start_logging("warn" if options.parent is None else "warn,cmdop_link::host=error")
    config = options.to_proto()
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.fixture is not None:
        # Only what the host writes must be where it was; the rest of the machine is seen through the fixture.
        keep = [options.state]
        enter_fixture(options.fixture, keep)
    spawner = start_spawner()
    anyio.run(partial(_serve, config, spawner, attached), backend="trio")


async def _serve(config: v1.HostConfig, spawner: Spawner, attached: Callable[[bool, str], None]) -> None:
    async with CoreHost.run(config, spawner) as host, anyio.create_task_group() as tasks:
        await tasks.start(drain_on_signal, host.drain)
        async for event in host.attachments:
            if event.HasField("host_attached"):
                attached(True, "")
            elif event.HasField("host_detached"):
                attached(False, event.host_detached.why)
        tasks.cancel_scope.cancel()
