"""One runtime of the core, and the pump that hears it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from cmdop import _core
from cmdop._bridge.items import Kind
from cmdop._bridge.stream import Inbox, Stream, closed
from cmdop.errors import BridgeForkedError, CmdopError

T = TypeVar("T")

Submit: TypeAlias = Callable[[], int | None]
"""Starts a request of the core: its id, or None if there are as many as may be."""

JudgementHandler: TypeAlias = Callable[[int, bytes], None]
"""Hears a judgement request: its id and the encoded message. Must not block."""

PolicyHandler: TypeAlias = Callable[[int], None]
"""Hears that the policy's files are wanted: the id of the question. Must not block for long."""

BATCH: Final = 256
"""Items drained at once. Between batches other tasks of the loop run."""

CLOSE_S: Final = 5.0
"""How long closing waits for the core's threads."""


class Bridge:
    """An open runtime. Use it in `async with`, in the process and the event loop that opened it.

    Args:
        threads: Threads of the core.
        judge: Hears judgement requests; a server passes it.
        policy: Hears that the policy's files are wanted; a server passes it.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        judge: JudgementHandler | None = None,
        policy: PolicyHandler | None = None,
    ) -> None:
        self._threads = threads
        self._judge = judge
        self._policy = policy
        self._runtime: _core.Runtime | None = None
        self._inboxes: dict[int, Inbox] = {}
        self._room = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._runtime = _core.Runtime(threads=self._threads)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._pump, self._runtime, name="cmdop pump")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tasks is not None, "__aexit__ comes after __aenter__"
        assert self._runtime is not None, "__aexit__ comes once"
        runtime, self._runtime = self._runtime, None
        self._tasks.cancel_scope.cancel()
        try:
            # Told nothing of the error: a task group would wrap it into an exception group.
            await self._tasks.__aexit__(None, None, None)
        finally:
            # The pump has stopped waiting on the descriptor; only now may the runtime go.
            for inbox in self._inboxes.values():
                inbox.end(error=closed())
            self._inboxes.clear()
            guarded(lambda: runtime.close(CLOSE_S))

    @property
    def runtime(self) -> _core.Runtime:
        """The core's runtime.

        Raises:
            BridgeClosedError: The bridge is not open.
        """
        if self._runtime is None:
            raise closed()
        return self._runtime

    async def request(self, submit: Submit) -> bytes:
        """Starts a request and waits for its answer. Waits for room if there are as many as may be.

        Cancelling it cancels the request in the core.

        Raises:
            CmdopError: The typed error with which it failed.
        """
        request, inbox = await self._start(submit)
        try:
            while not inbox.is_over:
                await inbox.changed()
        finally:
            self._forget(request, inbox)
        if inbox.error is not None:
            raise inbox.error
        assert inbox.answer is not None, "a request that is over has an answer or an error"
        return inbox.answer

    async def stream(self, submit: Submit, decode: Callable[[bytes], T]) -> Stream[T]:
        """Starts a request that answers with a stream of messages, each read by `decode`."""
        request, inbox = await self._start(submit)
        runtime = self.runtime
        return Stream(
            inbox,
            decode=decode,
            credit=lambda items: guarded(lambda: runtime.credit(request, items)),
            close=lambda: self._forget(request, inbox),
        )

    async def echo(self, payload: bytes, times: int) -> Stream[bytes]:
        """A stream of `times` copies of `payload` from the core: shows that the bridge works."""
        return await self.stream(lambda: self.runtime.echo(payload, times), bytes)

    def statistics(self) -> _core.Statistics:
        """How the queue and the requests have been used."""
        runtime = self.runtime
        return guarded(runtime.statistics)

    async def _start(self, submit: Submit) -> tuple[int, Inbox]:
        while True:
            room = self._room
            request = guarded(submit)
            if request is not None:
                break
            await room.wait()
            if self._runtime is None:
                raise closed()
        inbox = Inbox()
        # Its items cannot be missed: they are handed out by the pump, which runs on this loop.
        self._inboxes[request] = inbox
        return request, inbox

    def _forget(self, request: int, inbox: Inbox) -> None:
        self._inboxes.pop(request, None)
        if not inbox.is_over and self._runtime is not None:
            runtime = self._runtime
            guarded(lambda: runtime.cancel(request))

    async def _pump(self, runtime: _core.Runtime) -> None:
        descriptor = runtime.fileno()
        while True:
            await anyio.wait_readable(descriptor)
            batch = runtime.drain(BATCH)
            for kind, request, payload in batch:
                self._deliver(kind, request, payload)
            if batch and self._room_waited():
                room, self._room = self._room, anyio.Event()
                room.set()

    def _room_waited(self) -> bool:
        return self._room.statistics().tasks_waiting > 0

    def _deliver(self, kind: int, request: int, payload: bytes) -> None:
        if kind == Kind.JUDGEMENT:
            if self._judge is not None:
                self._judge(request, payload)
            return
        if kind == Kind.POLICY:
            if self._policy is not None:
                self._policy(request)
            return
        inbox = self._inboxes.get(request)
        if inbox is None:
            # Its task was cancelled; the item was on its way.
            return
        if kind == Kind.ITEM:
            inbox.put(payload)
        elif kind == Kind.DONE:
            inbox.end(answer=payload)
        else:
            inbox.end(error=CmdopError.from_bytes(payload))


def guarded(call: Callable[[], T]) -> T:
    """A call into the core with its own errors made ours."""
    try:
        return call()
    except _core.ForkedError as error:
        raise BridgeForkedError(str(error)) from None
    except _core.ClosedError:
        raise closed() from None
