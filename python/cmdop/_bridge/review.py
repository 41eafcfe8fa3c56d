"""Policy without a server: load it, ask it, compare it. The engine is the one that servers decide by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from cmdop import _core, v1
from cmdop.errors import CmdopError

T = TypeVar("T")
CoreSession: TypeAlias = _core.Session
"""What a run did before and what was refused to it, as the author of a policy supposes it."""
_Told: TypeAlias = tuple[str, bytes, bytes | None, list[tuple[str, bool, bool, str, list[bytes], str]]]
"""A review as the core tells it."""


@dataclass(frozen=True)
class Finding:
    """Something that the author of a policy may want to mend."""

    kind: str
    """`unreachable`, `shadowed`, `floor` or `unscoped`."""
    file: str
    line: int
    id: str
    problem: str
    mend: str


@dataclass(frozen=True)
class Ruling:
    """What policy says about one effect, whatever the level."""

    word: str
    """`allow`, `depends`, `ask` or `deny`."""
    policies: Sequence[v1.PolicyRef]
    """Those that decided; none if nothing permits it."""
    failed: str
    """An error of evaluation, which is a refusal; else empty."""


@dataclass(frozen=True)
class Reviewed:
    """One effect of a call."""

    effect: str
    predicted: bool
    declared: bool
    ruling: Ruling


@dataclass(frozen=True)
class Review:
    """What policy says about a call, before anything runs."""

    word: str
    """`allow`, `preview`, `ask` or `deny`, whatever the level."""
    decision: v1.Decision
    """As a server would make it, the level counted in."""
    error: v1.Error | None
    """The refusal, if it is one."""
    effects: Sequence[Reviewed]


@dataclass(frozen=True)
class Comparison:
    """What two policies say about the calls of a ledger."""

    decided: int
    """Calls that were decided anew, by their recorded predictions."""
    skipped: int
    """Calls of which too little is recorded."""
    differing: Sequence[tuple[v1.Call, Review, Review]]
    """Those about which they differ, oldest first."""


class PolicyReview:
    """A policy that is loaded as a server loads it.

    Args:
        policy: Files, packs, groups and labels.

    Raises:
        InvalidConfigurationError: It is broken; the message begins with file and line.
    """

    def __init__(self, policy: v1.PolicySet) -> None:
        self._core = typed(lambda: _core.Policy(policy.SerializeToString()))
        self.version: str = self._core.version()
        """Its digest, which every decision by it records."""

    def findings(self) -> list[Finding]:
        """Policies that can never decide anything, in the order of the files."""
        return [Finding(*found) for found in self._core.findings()]

    def rule(
        self,
        effect: v1.ExpectedEffect,
        *,
        tool: str,
        actor: v1.Actor,
        level: v1.AutonomyLevel,
        host: v1.Host,
        session: CoreSession | None = None,
    ) -> Ruling:
        """What it says about one effect of a call.

        Raises:
            ValueError: The target is none.
        """
        proposal = v1.Proposal(actor=actor, action=v1.Action(tool=tool))
        call = v1.Call(proposal=proposal, decision=v1.Decision(level=level))
        encoded = (call.SerializeToString(), effect.SerializeToString(), host.SerializeToString())
        return _ruling(*self._core.rule(*encoded, session))

    def review(
        self,
        proposal: v1.Proposal,
        prediction: v1.Prediction,
        *,
        level: v1.AutonomyLevel,
        host: v1.Host,
        session: CoreSession | None = None,
    ) -> Review:
        """What it says about a whole call.

        Raises:
            MalformedCallError: The proposal is not well formed.
        """
        encoded = (proposal.SerializeToString(), prediction.SerializeToString())
        return _review(typed(lambda: self._core.review(*encoded, level, host.SerializeToString(), session)))

    def compare(self, other: PolicyReview, ledger: Path) -> Comparison:
        """Decides about every call of a ledger by both policies. The ledger is only read; a server may have it open.

        Raises:
            LedgerCorruptError: Its chain is broken.
            CmdopError: It cannot be read.
        """
        decided, skipped, rows = typed(lambda: self._core.compare(other._core, str(ledger)))
        differing = [(v1.Call.FromString(call), _review(one), _review(two)) for call, one, two in rows]
        return Comparison(decided, skipped, differing)


def predict(proposal: v1.Proposal, host: v1.Host, judge: Callable[[bytes], bytes]) -> v1.Prediction:
    """What an action would do on a host, by the vocabulary that `judge` answers from.

    Raises:
        MalformedCallError: The proposal is not well formed, or the command cannot be parsed safely.
    """
    forecast = typed(lambda: _core.Forecast(proposal.SerializeToString(), host.SerializeToString()))
    while (question := forecast.question()) is not None:
        reply = judge(question)
        typed(lambda reply=reply: forecast.answer(reply))
    return v1.Prediction.FromString(forecast.prediction())


def packs() -> list[tuple[str, str, str]]:
    """Name, summary and text of every policy that ships."""
    return _core.packs()


def _ruling(word: str, policies: Sequence[bytes], failed: str) -> Ruling:
    return Ruling(word, [v1.PolicyRef.FromString(policy) for policy in policies], failed)


def _review(told: _Told) -> Review:
    word, decision, error, rows = told
    return Review(
        word,
        v1.Decision.FromString(decision),
        None if error is None else v1.Error.FromString(error),
        [
            Reviewed(effect, predicted, declared, _ruling(ruled, policies, failed))
            for effect, predicted, declared, ruled, policies, failed in rows
        ],
    )


def typed(call: Callable[[], T]) -> T:
    """A call into the core whose own errors carry an encoded `cmdop.v1.Error`."""
    try:
        return call()
    except _core.CoreError as error:
        raise CmdopError.from_bytes(error.args[0]) from None
