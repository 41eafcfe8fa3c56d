"""What comes out of the queue. The numbers are the protocol with `core_rs/py/src/queue.rs`."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What an item is."""

    DONE = 0
    """The last item of a request: its answer, or the end of its stream."""
    FAILED = 1
    """The last item of a request: an encoded `cmdop.v1.Error`."""
    ITEM = 2
    """One item of a stream."""
    JUDGEMENT = 3
    """An encoded `cmdop.v1.JudgementRequest`."""
    POLICY = 4
    """The files of the policy are wanted."""
