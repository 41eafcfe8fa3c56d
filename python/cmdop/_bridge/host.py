"""The host daemon of the core."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cmdop import _core, v1
from cmdop._bridge.bridge import Bridge, guarded
from cmdop._bridge.machine import Spawner
from cmdop._bridge.stream import Stream


class CoreHost:
    """A host daemon that runs. Made by `CoreHost.run`."""

    def __init__(self, core: _core.HostDaemon, lifetime: Stream[v1.Event]) -> None:
        self._core = core
        self.attachments = lifetime
        """Each time it attaches or detaches; ends when the daemon has drained."""

    def drain(self) -> None:
        """Takes no new permits, ends when what runs has ended, then detaches."""
        guarded(self._core.drain)

    @staticmethod
    @asynccontextmanager
    async def run(config: v1.HostConfig, spawner: Spawner) -> AsyncGenerator[CoreHost, None]:
        """Opens the host's ledger and keeps it attached to its server until it is drained.

        Raises:
            LedgerCorruptError: The host's own ledger is broken; the message names the place.
            InvalidConfigurationError: A setting is wrong.
        """
        async with Bridge() as bridge:
            core = guarded(lambda: _core.HostDaemon(bridge.runtime, config.SerializeToString(), spawner))
            async with await bridge.stream(core.run, v1.Event.FromString) as lifetime:
                yield CoreHost(core, lifetime)
