"""What every noun of the client shares: the connection, and who acts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from cmdop import v1
from cmdop._bridge import CoreClient, Stream
from cmdop._bridge.stream import closed

M = TypeVar("M", bound=Message)


class Connection:
    """A connection that may not be open yet."""

    def __init__(self, actor: v1.Actor) -> None:
        self.actor = actor
        """Who acts, unless a proposal says otherwise."""
        self.core: CoreClient | None = None

    async def unary(self, method: str, request: Message, answer: type[M]) -> M:
        """Calls a unary method of `cmdop.v1`, such as `Calls/Get`."""
        return await self._opened().unary(f"/cmdop.v1.{method}", request, answer)

    @asynccontextmanager
    async def stream(self, method: str, request: Message, item: type[M]) -> AsyncGenerator[Stream[M], None]:
        """Calls a method that answers with a stream, and ends it on leaving the block."""
        async with await self._opened().stream(f"/cmdop.v1.{method}", request, item) as stream:
            yield stream

    def _opened(self) -> CoreClient:
        if self.core is None:
            raise closed()
        return self.core
