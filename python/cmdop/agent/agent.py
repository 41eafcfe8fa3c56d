"""What an agent is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cmdop.agent.model import Model


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a run ends, whatever its model wants. Waiting for a person counts for nothing."""

    turns: int = 30
    """Exchanges with the model."""
    calls: int = 60
    """Calls proposed, refused ones included."""
    time_s: float = 900.0
    """Seconds, without those spent waiting for people."""
    denials_in_row: int = 4
    """Calls in a row that policy or people refused: the agent does not take no for an answer."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A named model with instructions and the tools that it may ask for."""

    name: str
    instructions: str
    model: Model
    tools: Sequence[str] = ("terminal.exec", "files.read", "files.list", "files.write", "files.delete")
    """Names of registered tools that are offered to the model."""
    limits: Limits = field(default_factory=Limits)
