"""The bridge on both event loops: order, backpressure, cancellation, fork and close."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import anyio
import pytest

from cmdop._bridge import Bridge
from cmdop.errors import BridgeClosedError, BridgeForkedError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_a_stream_arrives_complete_and_in_order() -> None:
    async with Bridge() as bridge:
        async with await bridge.echo(b"x" * 200, 20_000) as stream:
            received = 0
            async for payload in stream:
                assert len(payload) == 200
                received += 1
        assert received == 20_000
        counts = bridge.statistics()
        assert counts.drained == counts.pushed == 20_001
        assert counts.in_flight == 0


async def test_many_requests_at_once_each_get_their_own_items() -> None:
    sums: dict[int, int] = {}

    async def follow(number: int) -> None:
        async with await bridge.echo(str(number).encode(), 50) as stream:
            sums[number] = sum([int(payload) async for payload in stream])

    async with Bridge(threads=2) as bridge, anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(follow, number)
    assert sums == {number: 50 * number for number in range(300)}


async def test_a_reader_that_stops_holds_only_its_own_stream() -> None:
    async with Bridge() as bridge, await bridge.echo(b"idle", 1_000_000) as idle:
        async with await bridge.echo(b"busy", 5_000) as busy:
            with anyio.fail_after(20):
                assert len([payload async for payload in busy]) == 5_000
        assert bridge.statistics().pushed < 5_000 + 200, "the idle stream went on without credits"
        assert await anext(idle) == b"idle"


async def test_more_requests_than_the_limit_wait_and_are_not_refused() -> None:
    async with Bridge() as bridge:
        limit = bridge.statistics().in_flight_limit
        held = [await bridge.echo(b"held", 1_000) for _ in range(limit)]
        with anyio.move_on_after(0.05) as waited:
            await bridge.echo(b"one more", 1)
        assert waited.cancelled_caught
        async with held.pop():
            pass
        with anyio.fail_after(20):
            async with await bridge.echo(b"one more", 1) as stream:
                assert [payload async for payload in stream] == [b"one more"]


async def test_leaving_a_stream_early_ends_it_in_the_core() -> None:
    async with Bridge() as bridge:
        async with await bridge.echo(b"x", 10_000_000) as stream:
            await anext(stream)
        with anyio.fail_after(20):
            while bridge.statistics().in_flight:
                await anyio.lowlevel.checkpoint()


async def test_an_error_inside_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Bridge():
            raise ValueError("mine")


async def test_a_closed_bridge_says_so() -> None:
    async with Bridge() as bridge:
        pass
    with pytest.raises(BridgeClosedError):
        bridge.statistics()
    with pytest.raises(BridgeClosedError):
        await bridge.echo(b"x", 1)


async def test_closing_wakes_who_still_waits() -> None:
    outcome: list[type[BaseException]] = []

    async def follow() -> None:
        try:
            async for _ in stream:
                pass
        except BridgeClosedError as error:
            outcome.append(type(error))

    async with anyio.create_task_group() as tasks, Bridge() as bridge:
        stream = await bridge.echo(b"x", 10_000_000)
        tasks.start_soon(follow)
        await anyio.lowlevel.checkpoint()
    assert outcome == [BridgeClosedError]


async def test_a_forked_child_gets_a_typed_error_and_ends_cleanly() -> None:
    async with Bridge() as bridge:
        async with await bridge.echo(b"x", 1) as stream:
            assert [payload async for payload in stream] == [b"x"]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                bridge.statistics()
            except BridgeForkedError:
                # Collecting the runtime must not join threads that the child does not have.
                bridge._runtime = None  # pyright: ignore[reportPrivateUsage]
                gc.collect()
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        with anyio.fail_after(20):
            descriptor = os.pidfd_open(child)
            await anyio.wait_readable(descriptor)
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        async with await bridge.echo(b"x", 1) as stream:
            assert [payload async for payload in stream] == [b"x"]


def test_the_core_outlives_the_thread_that_loaded_it() -> None:
    # The next thread is given the place in memory of the one that ended, and is not to be taken for it.
    program = """
import threading

def load():
    import cmdop._core

def use():
    import cmdop._core
    cmdop._core.Runtime(threads=1)

for work in (load, use, use):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
