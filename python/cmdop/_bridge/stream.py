"""A stream of messages from the core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

import anyio

from cmdop.errors import BridgeClosedError, CmdopError

T = TypeVar("T")


class Inbox:
    """Items that came for one request and were not taken yet.

    The core sends no more of them than it was given credits for, so this needs no bound of its own.
    """

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        self.answer: bytes | None = None
        self.error: CmdopError | None = None
        self._changed = anyio.Event()

    @property
    def is_over(self) -> bool:
        """True once the final item is here."""
        return self.answer is not None or self.error is not None

    def put(self, payload: bytes) -> None:
        """An item of a stream."""
        self.items.append(payload)
        self._changed.set()

    def end(self, answer: bytes | None = None, error: CmdopError | None = None) -> None:
        """The final item."""
        self.answer, self.error = answer, error
        self._changed.set()

    async def changed(self) -> None:
        """Waits until something came after the last wait."""
        await self._changed.wait()
        self._changed = anyio.Event()


class Stream(Generic[T]):
    """An asynchronous iterator of messages; use it in `async with` to end it early.

    Raises the request's typed error where it failed. One task may iterate it.
    """

    def __init__(
        self, inbox: Inbox, decode: Callable[[bytes], T], credit: Callable[[int], None], close: Callable[[], None]
    ) -> None:
        self._inbox = inbox
        self._decode = decode
        self._credit = credit
        self._close = close
        self._taken = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._inbox.items:
            if self._inbox.error is not None:
                raise self._inbox.error
            if self._inbox.answer is not None:
                raise StopAsyncIteration
            await self._inbox.changed()
        payload = self._inbox.items.popleft()
        self._taken += 1
        # Credits go back in batches: one crossing for each item would double the cost.
        if self._taken >= 16 or not self._inbox.items:
            self._credit(self._taken)
            self._taken = 0
        return self._decode(payload)


def closed() -> BridgeClosedError:
    """The error of a request that nobody will answer any more."""
    return BridgeClosedError("the client is closed; use it inside `async with`")
