"""The life of a server process, from its configuration to the last drained call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from cmdop._bridge import CoreServer
from cmdop.drain import drain_on_signal
from cmdop.policy import judge, vocabulary_version
from cmdop.server.settings import read_config

PERMIT_KEY: Final = Path("server/permit.pub")
"""Where a server leaves the verifying key of its permits, beneath its data directory, in hex."""


@asynccontextmanager
async def serve(data: Path, listen: str) -> AsyncGenerator[CoreServer, None]:
    """A server over a data directory; yields when it takes calls.

    Raises:
        InvalidConfigurationError: A policy or settings file is wrong; the server does not start.
        LedgerCorruptError: The ledger's chain is broken.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = read_config(data, listen, vocabulary_version=vocabulary_version())
    async with CoreServer.serve(config, judge) as server:
        leave_key(data / PERMIT_KEY, server.permit_key)
        yield server


async def serve_until_signal(data: Path, listen: str, ready: Callable[[CoreServer], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends it at once."""
    async with serve(data, listen) as server, anyio.create_task_group() as tasks:
        await tasks.start(drain_on_signal, server.drain)
        ready(server)
        await server.finished()
        tasks.cancel_scope.cancel()


def leave_key(path: Path, key: bytes) -> None:
    """Writes a verifying key for hosts to read, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(key.hex() + "\n")
    fresh.chmod(0o644)
    fresh.replace(path)
