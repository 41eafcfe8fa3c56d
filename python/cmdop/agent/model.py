"""The port behind which models stand, and what crosses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias


class ModelError(Exception):
    """The model could not be asked, or answered something that is no answer."""

    run_id: str = ""
    """The run that it ended; empty outside of one."""


@dataclass(frozen=True, slots=True)
class UserText:
    """What a person asks for."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelText:
    """What the model said in words."""

    text: str
    phase: str = ""
    """The provider's word for what it is, if it has one: it wants it back with the text."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """What the model asks to be done."""

    id: str
    """The model's own id of it; its result refers to it."""
    name: str
    arguments: str
    """JSON text as the model wrote it, valid or not."""


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What became of a function call."""

    id: str
    output: str
    """JSON text."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought, in a form that only its provider reads: sent back as it came."""

    data: str
    """JSON text of the provider's own item."""


Item: TypeAlias = UserText | ModelText | FunctionCall | FunctionResult | Reasoning
"""One entry of a conversation."""


@dataclass(frozen=True, slots=True)
class Function:
    """A tool as a model sees it: one strict function."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema in the subset that strict structured outputs accept."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One turn's question."""

    instructions: str
    items: Sequence[Item]
    functions: Sequence[Function]


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """One turn's answer: words, function calls, or both. Without calls it is final."""

    text: str = ""
    calls: tuple[FunctionCall, ...] = ()
    refusal: str = ""
    """Why the model will not answer, in its own words; such an answer has no calls."""
    input_tokens: int = 0
    output_tokens: int = 0
    said: tuple[Item, ...] = ()
    """The same with what goes back to the provider, in its order. Left out, text and then calls."""

    @property
    def items(self) -> tuple[Item, ...]:
        """The answer as entries of the conversation."""
        if self.said:
            return self.said
        words = self.text or self.refusal
        return (*((ModelText(words),) if words else ()), *self.calls)


OnText: TypeAlias = Callable[[str], None]
"""Takes pieces of the answer's text while they come."""


class Model(Protocol):
    """A model that can be asked for the next step of a conversation."""

    @property
    def name(self) -> str:
        """Name as the provider knows it, for the trace."""
        ...

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        """Asks for one turn.

        Raises:
            ModelError: The model could not be asked, or its answer is none.
        """
        ...
