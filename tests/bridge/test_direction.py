"""Rust never calls Python, and never waits for it: it puts items on a queue, and an event loop takes them.

That nothing in the sources could call Python is read by `core_rs/contract/tests/direction.rs`.
"""

from __future__ import annotations

import sys
import time

from cmdop import _core

# As many as the core sends before Python takes one.
ITEMS = 60


def test_the_core_works_while_python_keeps_the_interpreter_to_itself() -> None:
    runtime = _core.Runtime(threads=2)
    interval = sys.getswitchinterval()
    # Whoever asks for the interpreter waits for a switch: within this test there is none.
    sys.setswitchinterval(1000)
    try:
        assert runtime.echo(b"item", ITEMS) is not None
        end = time.monotonic() + 30
        while runtime.statistics().pushed <= ITEMS and time.monotonic() < end:
            pass
        assert runtime.statistics().pushed == ITEMS + 1, "all items and the end, and Python gave up nothing meanwhile"
    finally:
        sys.setswitchinterval(interval)
        runtime.close(1.0)
