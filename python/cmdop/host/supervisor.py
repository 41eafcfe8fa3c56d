"""Keeps a host process running as a child of this one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import trio

from cmdop import v1
from cmdop.errors import HostError
from cmdop.host.process import HostOptions

STOP_S: Final = 15.0
"""How long a host may take to drain before it is killed."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
STEADY_S: Final = 30.0
"""After a life this long the pauses begin anew."""


async def supervise(
    options: HostOptions,
    *,
    is_draining: Callable[[], bool] = lambda: False,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs `python -m cmdop.host`, and starts it again with growing pauses whenever it ends.

    Reports started once the host is attached for the first time. Cancelling it drains the host. While
    `is_draining` says that the server's end was asked for, that the host loses it is not worth a word.

    Raises:
        HostError: The host ended before it was ever attached: it cannot run as it was told to.
    """
    was_attached = False

    def attached() -> None:
        nonlocal was_attached
        if not was_attached:
            was_attached = True
            task_status.started()

    pause_s = FIRST_PAUSE_S
    while True:
        began = trio.current_time()
        status = await _live(options, attached, is_draining)
        if not was_attached:
            message = f"host `{options.name}` cannot start (status {status}); its own message says why"
            # What keeps it from starting stays until somebody mends it: no later try would go otherwise.
            remedy = v1.Remedy(stop=v1.Stop(why="Mend what the host's own message names, and start again."))
            reason = v1.Reason.REASON_HOST_ERROR
            raise HostError(message, proto=v1.Error(reason=reason, message=message, remedy=remedy))
        if trio.current_time() - began > STEADY_S:
            pause_s = FIRST_PAUSE_S
        print(
            f"cmdop: host `{options.name}` ended with status {status}; starting it again", file=sys.stderr, flush=True
        )
        await trio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def _live(options: HostOptions, attached: Callable[[], None], is_draining: Callable[[], bool]) -> int:
    """One life of the process, ended by itself or by cancellation. Returns its status."""
    # Started by this thread and not by trio's process functions, which use a thread of their own: the
    # child asks to be killed when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).
    # Its own session, so that a terminal's interrupt reaches the server first.
    process = subprocess.Popen(
        _command(options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None, "asked for with PIPE"
    lines = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
    process.stdout.close()
    try:
        async with lines, trio.open_nursery() as nursery:
            nursery.start_soon(_listen, lines, attached, is_draining)
            await _ended(process)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)
    return process.returncode


def _command(options: HostOptions) -> list[str]:
    command = [sys.executable, "-m", "cmdop.host", "--name", options.name, "--server", options.server]
    command += ["--state", str(options.state), "--permit-key", str(options.permit_key), "--parent", str(os.getpid())]
    for path in options.workspaces:
        command += ["--workspace", path]
    for name, value in options.labels.items():
        command += ["--label", f"{name}={value}"]
    for path in options.hidden:
        command += ["--hide", str(path)]
    if options.fixture is not None:
        command += ["--fixture", str(options.fixture)]
    return command


async def _listen(lines: trio.abc.ReceiveStream, attached: Callable[[], None], is_draining: Callable[[], bool]) -> None:
    buffer = b""
    async for chunk in lines:
        *complete, buffer = (buffer + chunk).split(b"\n")
        for line in complete:
            if line == b"attached":
                attached()
            elif not is_draining():
                print(f"cmdop: host {line.decode(errors='replace')}", file=sys.stderr, flush=True)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    descriptor = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    process.wait()


async def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_S):
        await _ended(process)
    if process.returncode is None:
        process.kill()
        await _ended(process)
