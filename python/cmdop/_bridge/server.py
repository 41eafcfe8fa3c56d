"""The server of the core: ledger, engine, gate and listener."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from cmdop import _core, v1
from cmdop._bridge.bridge import Bridge, guarded
from cmdop._bridge.stream import Stream


class CoreServer:
    """A server that listens. Made by `CoreServer.serve`."""

    def __init__(self, core: _core.Server, lifetime: Stream[bytes]) -> None:
        self._core = core
        self._lifetime = lifetime

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        return guarded(self._core.address)

    @property
    def permit_key(self) -> bytes:
        """Verifying key of its permits, 32 bytes."""
        return guarded(self._core.permit_key)

    def drain(self) -> None:
        """Takes no new calls and ends when those that run have ended, or at its deadline."""
        guarded(self._core.drain)

    async def finished(self) -> None:
        """Waits until it has ended.

        Raises:
            CmdopError: It ended by a failure.
        """
        async for _ in self._lifetime:
            pass

    @staticmethod
    @asynccontextmanager
    async def serve(config: v1.ServerConfig, judge: Callable[[bytes], bytes]) -> AsyncGenerator[CoreServer, None]:
        """Opens the ledger, loads the policies and listens; yields when calls are taken.

        Args:
            config: What to serve.
            judge: Answers an encoded judgement request. It runs on the event loop: the core waits
                for it no longer than `judgement_ttl_ms`, and what it raises counts as no answer.

        Raises:
            InvalidConfigurationError: A policy does not parse, or a setting is wrong.
            LedgerCorruptError: The ledger's chain is broken; the message names the place.
        """
        core: _core.Server | None = None

        def on_judgement(_: int, request: bytes) -> None:
            if core is not None:
                core.answer(judge(request))

        async with Bridge(threads=2, judge=on_judgement) as bridge:
            core = guarded(lambda: _core.Server(bridge.runtime, config.SerializeToString()))
            async with await bridge.stream(core.run, bytes) as lifetime:
                # Its first and only item says that it listens.
                await anext(lifetime)
                yield CoreServer(core, lifetime)
