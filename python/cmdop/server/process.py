"""The life of a server process, from its configuration to the last drained call."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from cmdop._bridge import CoreServer, start_logging
from cmdop.drain import drain_on_signal
from cmdop.errors import CmdopError, InvalidConfigurationError, StorageFullError
from cmdop.policy import judge, vocabulary_version
from cmdop.server.export import FLUSH_S, Flush, exporting
from cmdop.server.notify import load_receivers, notifying
from cmdop.server.settings import read_config, read_policy

PERMIT_KEY: Final = Path("server/permit.pub")
"""Where a server leaves the verifying key of its permits, beneath its data directory, in hex."""


class Server:
    """A server that takes calls. Made by `serve`."""

    def __init__(self, core: CoreServer, tasks: TaskGroup, flush: Flush) -> None:
        self._core = core
        self._tasks = tasks
        self._flush = flush
        self.address: str = core.address
        """Where it listens, with the real port."""
        self.is_draining: bool = False
        """True once its end was asked for."""

    def drain(self) -> None:
        """Exports the last traces, takes no new calls, and ends when those that run have ended."""
        self.is_draining = True
        self._tasks.start_soon(self._drain)

    async def reload_on_signal(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Reads the policy's files anew at each SIGHUP, and says in one line what came of it."""
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                print(await self.reload(), file=sys.stderr, flush=True)

    async def reload(self) -> str:
        """Reads the policy's files anew. One line: the version from now on, or why it stays as it is."""
        try:
            status = await self._core.reload()
        except CmdopError as error:
            return f"cmdop: the policy stays as it was: {error.message}"
        names = ", ".join(file.pack or file.name for file in status.files)
        return f"cmdop: decides by policy {status.version[:16]} ({names})"

    async def finished(self) -> None:
        """Waits until it has ended. See `CoreServer.finished`."""
        await self._core.finished()

    async def _drain(self) -> None:
        with anyio.move_on_after(FLUSH_S):
            await self._flush()
        self._core.drain()


@asynccontextmanager
async def serve(data: Path, listen: str, policy: Sequence[str] = ()) -> AsyncGenerator[Server, None]:
    """A server over a data directory; yields when it takes calls.

    Args:
        data: Directory of policies, ledger and keys.
        listen: Address to listen on.
        policy: Packs and files that are used instead of the directory's own policies.

    Raises:
        InvalidConfigurationError: A policy or settings file is wrong; the server does not start.
        LedgerCorruptError: The ledger's chain is broken.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"the data directory {data} cannot be made: {error.strerror}",
            "a directory, or a path where one can be made",
        ) from None
    config = read_config(data, listen, vocabulary_version=vocabulary_version(), policy=policy)
    receivers = load_receivers(data)
    # What a start finds and mends, and what goes wrong later, is told on standard error.
    start_logging("warn")
    async with CoreServer.serve(config, judge, lambda: read_policy(data, policy)) as core:
        leave_key(data / PERMIT_KEY, core.permit_key)
        async with (
            exporting(core.address) as flush,
            notifying(core.address, receivers),
            anyio.create_task_group() as tasks,
        ):
            yield Server(core, tasks, flush)
            tasks.cancel_scope.cancel()


async def serve_until_signal(
    data: Path, listen: str, ready: Callable[[Server], None], policy: Sequence[str] = ()
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends it at once."""
    async with serve(data, listen, policy) as server, anyio.create_task_group() as tasks:
        await tasks.start(drain_on_signal, server.drain)
        await tasks.start(server.reload_on_signal)
        ready(server)
        await server.finished()
        tasks.cancel_scope.cancel()


def leave_key(path: Path, key: bytes) -> None:
    """Writes a verifying key for hosts to read, whole or not at all.

    Raises:
        StorageFullError: The disk has no room for it.
    """
    content = key.hex() + "\n"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        # A start on a full disk needs no room for what is there already.
        if path.read_text() == content:
            return
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(content)
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(f"no room for {path}: {error.strerror}; make room, then start again") from None
