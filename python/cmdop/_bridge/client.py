"""Typed requests over a bridge: messages of `cmdop.v1` in and out."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from cmdop import _core, v1
from cmdop._bridge.bridge import Bridge, guarded
from cmdop._bridge.stream import Stream

M = TypeVar("M", bound=Message)


class CoreClient:
    """A connection to a server. It dials again by itself when it was lost.

    Args:
        bridge: An open bridge.
        config: Address and limits.
    """

    def __init__(self, bridge: Bridge, config: v1.ClientConfig) -> None:
        self._bridge = bridge
        self._core = guarded(lambda: _core.Client(bridge.runtime, config.SerializeToString()))

    async def connect(self) -> None:
        """Makes the first connection.

        Raises:
            UnreachableError: Nothing answers at the address in time.
        """
        await self._bridge.request(self._core.connect)

    async def unary(self, method: str, request: Message, answer: type[M]) -> M:
        """Calls a unary method, such as `/cmdop.v1.Calls/Get`."""
        data = request.SerializeToString()
        return answer.FromString(await self._bridge.request(lambda: self._core.unary(method, data)))

    async def stream(self, method: str, request: Message, item: type[M]) -> Stream[M]:
        """Calls a method that answers with a stream."""
        data = request.SerializeToString()
        return await self._bridge.stream(lambda: self._core.stream(method, data), item.FromString)
