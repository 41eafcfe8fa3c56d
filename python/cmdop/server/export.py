"""Exports every call that settles and every run that ends in this life of the server, by watching it from outside.

The watcher is a client like any other: it reads what is durable already, so that no collector, however slow
or broken, can hold up or fail a call.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import anyio
from anyio.abc import TaskStatus

from cmdop import v1
from cmdop.client import Client
from cmdop.client.calls import FINAL_STATES
from cmdop.errors import CmdopError
from cmdop.trace.otlp import Exporter, endpoint_from_environment
from cmdop.trace.spans import Span, call_spans, run_spans

EVERY_S: Final = 0.5
"""Pause between two looks."""
BATCH: Final = 32
"""Calls and runs in one request."""
MOST_WAITING: Final = 10_000
"""Ids that may wait for a slow collector; the oldest are left out then, and that is logged."""
PAGE: Final = 100
FLUSH_S: Final = 3.0
"""How long a drain waits for the last export."""

_log = logging.getLogger(__name__)
Flush: TypeAlias = Callable[[], Awaitable[None]]
"""Exports what has ended by now."""
_OPEN = [
    v1.CallState.CALL_STATE_PROPOSED,
    v1.CallState.CALL_STATE_HELD,
    v1.CallState.CALL_STATE_PERMITTED,
    v1.CallState.CALL_STATE_RUNNING,
    v1.CallState.CALL_STATE_PREVIEWED,
    v1.CallState.CALL_STATE_DIFF_HELD,
    v1.CallState.CALL_STATE_COMMITTING,
]


@asynccontextmanager
async def exporting(address: str) -> AsyncGenerator[Flush, None]:
    """Exports what the server at the address does, if a collector is configured; yields what flushes.

    A collector that cannot be used is logged once; the server goes on without.
    """
    endpoint = endpoint_from_environment()
    if endpoint is None:
        yield _nothing
        return
    try:
        exporter = Exporter(endpoint)
    except CmdopError as error:
        _log.warning("no traces are exported: %s", error.message)
        yield _nothing
        return
    async with anyio.create_task_group() as tasks:
        watcher = Watcher(address, exporter)
        await tasks.start(watcher.run)
        try:
            yield watcher.flush
        finally:
            tasks.cancel_scope.cancel()
            exporter.close()


async def _nothing() -> None:
    """Without a collector there is nothing to flush."""


class Watcher:
    """Finds what has ended since it began, and exports each once.

    Args:
        address: Of the server.
        exporter: Where it goes.
    """

    def __init__(self, address: str, exporter: Exporter) -> None:
        self._address = address
        self._exporter = exporter
        self._newest_call = ""
        self._newest_run = ""
        self._open: set[str] = set()
        self._open_runs: set[str] = set()
        # Of a call or a run: True for a run.
        self._waiting: deque[tuple[bool, str]] = deque(maxlen=MOST_WAITING)
        self._look = anyio.Lock()
        self._client: Client | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watches until it is cancelled. Reports started when it knows what had ended before."""
        is_started = False
        while True:
            try:
                async with Client(self._address, user="cmdop") as client:
                    if not is_started:
                        await self._begin(client)
                        is_started = True
                        task_status.started()
                    self._client = client
                    while True:
                        await self.flush()
                        await anyio.sleep(EVERY_S)
            except Exception:
                # Whatever is wrong with watching is no reason to end the server.
                _log.warning("traces cannot be followed; trying again", exc_info=True)
                if not is_started:
                    is_started = True
                    task_status.started()
                await anyio.sleep(EVERY_S * 4)
            finally:
                self._client = None

    async def flush(self) -> None:
        """Exports what has ended by now. Failures are logged."""
        client = self._client
        if client is None:
            return
        async with self._look:
            await self._find(client)
            while self._waiting:
                await self._export_some(client)

    async def _begin(self, client: Client) -> None:
        """What is open now may end later; what has ended is of an earlier life."""
        newest = await client.calls.list(limit=1)
        self._newest_call = newest[0].call_id if newest else ""
        before = ""
        while page := await client.calls.list(limit=PAGE, states=_OPEN, before=before):
            self._open.update(call.call_id for call in page)
            before = page[-1].call_id
        runs = await client.runs.list(limit=1000)
        self._newest_run = runs[0].run_id if runs else ""
        self._open_runs = {run.run_id for run in runs if not run.finished_at}

    async def _find(self, client: Client) -> None:
        """Puts what has ended since the last look in line, oldest first."""
        ended: list[str] = []
        known_open = {*self._open}
        for call_id in known_open:
            if (await client.calls.get(call_id)).state in FINAL_STATES:
                self._open.discard(call_id)
                ended.append(call_id)
        fresh: list[v1.Call] = []
        while page := await client.calls.list(limit=PAGE, before=fresh[-1].call_id if fresh else ""):
            ids = [call.call_id for call in page]
            known = ids.index(self._newest_call) if self._newest_call in ids else None
            fresh += page[:known]
            if known is not None:
                break
        if fresh:
            self._newest_call = fresh[0].call_id
        # One that began between the two looks of `_begin` is among the open ones, too.
        for call in (call for call in reversed(fresh) if call.call_id not in known_open):
            if call.state in FINAL_STATES:
                ended.append(call.call_id)
            else:
                self._open.add(call.call_id)
        for call_id in ended:
            self._wait(is_run=False, id=call_id)
        await self._find_runs(client)

    async def _find_runs(self, client: Client) -> None:
        runs = await client.runs.list(limit=PAGE)
        ids = [run.run_id for run in runs]
        if ids and self._newest_run not in ids and self._newest_run:
            runs = await client.runs.list(limit=1000)
            ids = [run.run_id for run in runs]
        fresh = runs[: ids.index(self._newest_run)] if self._newest_run in ids else runs
        for run_id in [*self._open_runs]:
            if (await client.runs.get(run_id)).finished_at:
                self._open_runs.discard(run_id)
                self._wait(is_run=True, id=run_id)
        for run in reversed(fresh):
            if run.finished_at:
                self._wait(is_run=True, id=run.run_id)
            else:
                self._open_runs.add(run.run_id)
        if runs:
            self._newest_run = runs[0].run_id

    def _wait(self, *, is_run: bool, id: str) -> None:
        if len(self._waiting) == MOST_WAITING:
            _log.warning("the collector is too slow: %s is not exported", self._waiting[0][1])
        self._waiting.append((is_run, id))

    async def _export_some(self, client: Client) -> None:
        """Exports the first in line. What the collector does not take is logged and not tried again."""
        some = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        spans: list[Span] = []
        for is_run, id in some:
            try:
                trace = await client.traces.get(id)
            except CmdopError as error:
                _log.warning("the trace of %s cannot be read: %s", id, error.message)
                continue
            if is_run:
                spans += run_spans(trace)
            else:
                spans += [span for call in trace.calls for span in call_spans(call, trace.events)]
        try:
            await self._exporter.export(spans)
        except CmdopError as error:
            _log.warning("%s, of %s", error.message, ", ".join(id for _, id in some))
