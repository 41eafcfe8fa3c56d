"""A model that follows a script, for tests and demos without a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cmdop.agent.model import FunctionCall, Item, ModelError, ModelRequest, ModelResponse, OnText


@dataclass(frozen=True, slots=True)
class Ask:
    """A function call of the script."""

    function: str
    """Name as offered: `terminal_exec`."""
    arguments: dict[str, Any] | str
    """Its arguments, or raw text to play a model that writes broken JSON."""
    say: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """Words of the script. As they come without a call, they end the run."""

    text: str


Step: TypeAlias = Ask | Say | Sequence[Ask] | Callable[[Sequence[Item]], "Ask | Say"]
"""One turn: what to say or ask for, several calls at once, or a function of the conversation."""


class ScriptedModel:
    """Answers one step of its script a turn, whatever it is asked.

    ``seen`` keeps every request, so that a test can look at what a model would have been told.
    """

    def __init__(self, script: Iterable[Step], *, name: str = "scripted") -> None:
        self._script = list(script)
        self._name = name
        self.seen: list[ModelRequest] = []
        """Requests so far."""

    @property
    def name(self) -> str:
        """Name for the trace."""
        return self._name

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """The next step. A script that is over is a `ModelError`."""
        self.seen.append(request)
        turn = len(self.seen)
        if turn > len(self._script):
            raise ModelError(f"the script is over after {len(self._script)} turns")
        step = self._script[turn - 1]
        if callable(step):
            step = step(request.items)
        if isinstance(step, Say):
            if on_text:
                on_text(step.text)
            return ModelResponse(text=step.text)
        asks = [step] if isinstance(step, Ask) else list(step)
        calls = tuple(
            FunctionCall(
                f"{self._name}-{turn}-{index}",
                ask.function,
                ask.arguments if isinstance(ask.arguments, str) else json.dumps(ask.arguments),
            )
            for index, ask in enumerate(asks)
        )
        return ModelResponse(text=" ".join(ask.say for ask in asks if ask.say), calls=calls)
