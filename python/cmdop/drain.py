"""Draining a process on its first signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus


async def drain_on_signal(
    drain: Callable[[], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Calls `drain` at the first SIGTERM or SIGINT; the second one ends the process."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        asked = False
        async for number in signals:
            if asked:
                # The ledger is made for this: what was promised is durable already.
                os._exit(128 + number)
            asked = True
            drain()
