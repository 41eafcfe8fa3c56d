"""What a run tells those who watch it, as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cmdop import v1
from cmdop.agent.model import FunctionCall, ModelResponse


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """The model answered."""

    turn: int
    response: ModelResponse


@dataclass(frozen=True, slots=True)
class CallHeld:
    """A call waits for a person."""

    call: v1.Call


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call is over, or could not be taken; then `call` is None."""

    asked: FunctionCall
    action: v1.Action
    call: v1.Call | None
    error: v1.Error | None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    run: v1.Run


RunEvent: TypeAlias = TurnTaken | CallHeld | CallAnswered | RunFinished
