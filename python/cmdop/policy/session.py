"""What a run or session did before, as the author of a policy supposes it: what rules about that are tried with."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cmdop._bridge import CoreSession


class Refusal(BaseModel):
    """What was refused before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    effect: str
    """KIND:TARGET."""
    by_person: bool = False
    """A person said no; else policy did."""


class Session(BaseModel):
    """Facts that policies ask about: `context.made`, `only_copy`, `failed`, `denials`, and what a refusal binds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    made: list[str] = Field(default_factory=list[str])
    """Paths that it created and nobody replaced since. A directory ends with `/`."""
    moved: dict[str, str] = Field(default_factory=dict[str, str])
    """What it moved: where it is now, and where it was. Nothing else holds it."""
    failed: int = Field(default=0, ge=0, le=1_000_000)
    """Calls that did not do what they were meant to."""
    denials: int | None = Field(default=None, ge=0, le=1_000_000)
    """Calls that were refused. Without it: as many as `denied` has."""
    denied: list[str | Refusal] = Field(default_factory=list[str | Refusal])
    """What was refused, by policy where it is only KIND:TARGET. It binds agents."""

    @model_validator(mode="after")
    def _is_known_to_the_core(self) -> Self:
        self.to_core("local")
        return self

    def to_core(self, host: str) -> CoreSession:
        """The same on a host, as the core takes it."""
        denied = [(one, False) if isinstance(one, str) else (one.effect, one.by_person) for one in self.denied]
        denials = len(denied) if self.denials is None else self.denials
        return CoreSession(host, self.made, [*self.moved.items()], self.failed, denials, denied)

    def joined(self, other: Session) -> Session:
        """What another says beside this one; where both say something of the same, the other's word."""
        said: dict[str, Any] = {name: getattr(other, name) for name in other.model_fields_set}
        return self.model_copy(update=said)
