"""The server of the core: ledger, engine, gate and listener."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from cmdop import _core, v1
from cmdop._bridge.bridge import Bridge, guarded
from cmdop._bridge.stream import Stream
from cmdop.errors import CmdopError


class CoreServer:
    """A server that listens. Made by `CoreServer.serve`."""

    def __init__(self, bridge: Bridge, core: _core.Server, lifetime: Stream[bytes]) -> None:
        self._bridge = bridge
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

    async def reload(self) -> v1.PolicyStatus:
        """Has the policy's files read anew, and decides by them from then on.

        Raises:
            InvalidConfigurationError: They are broken; the policy goes on as it was.
        """
        return v1.PolicyStatus.FromString(await self._bridge.request(self._core.reload))

    async def finished(self) -> None:
        """Waits until it has ended.

        Raises:
            CmdopError: It ended by a failure.
        """
        async for _ in self._lifetime:
            pass

    @staticmethod
    @asynccontextmanager
    async def serve(
        config: v1.ServerConfig, judge: Callable[[bytes], bytes], policy: Callable[[], v1.PolicySet]
    ) -> AsyncGenerator[CoreServer, None]:
        """Opens the ledger, loads the policies and listens; yields when calls are taken.

        Args:
            config: What to serve.
            judge: Answers an encoded judgement request. It runs on the event loop: the core waits
                for it no longer than `judgement_ttl_ms`, and what it raises counts as no answer.
            policy: Reads the files of the policy anew; what it raises is told to whoever asked for a reload.

        Raises:
            InvalidConfigurationError: A policy does not parse, or a setting is wrong.
            LedgerCorruptError: The ledger's chain is broken; the message names the place.
        """
        core: _core.Server | None = None

        def on_judgement(_: int, request: bytes) -> None:
            if core is not None:
                core.answer(judge(request))

        def on_policy(question: int) -> None:
            if core is None:
                return
            try:
                core.policy(question, policy().SerializeToString())
            except CmdopError as error:
                core.policy_failed(question, error.proto.SerializeToString())

        async with Bridge(threads=2, judge=on_judgement, policy=on_policy) as bridge:
            core = guarded(lambda: _core.Server(bridge.runtime, config.SerializeToString()))
            async with await bridge.stream(core.run, bytes) as lifetime:
                # Its first and only item says that it listens.
                await anext(lifetime)
                yield CoreServer(bridge, core, lifetime)
