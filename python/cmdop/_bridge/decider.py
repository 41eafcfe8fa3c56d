"""Decisions without a server: the core predicts and decides, the vocabulary answers its questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cmdop import _core, v1
from cmdop._bridge.review import CoreSession, predict, typed
from cmdop.errors import CmdopError


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is decided about a proposal before anything runs."""

    decision: v1.Decision
    prediction: v1.Prediction
    error: v1.Error | None
    """Why it is refused, and what to do instead."""


class CoreDecider:
    """Decides as a server does, about calls that nobody sends.

    A proposal that declares nothing is taken to declare what it is foreseen to do. Not for several threads
    at a time.
    """

    def __init__(self, host: v1.Host, policies: Sequence[v1.PolicyFile], judge: Callable[[bytes], bytes]) -> None:
        """Loads policies beside the floor; none of them means the default policy.

        Args:
            host: What decisions are about: workspaces, labels, capabilities, home.
            policies: Policy files.
            judge: Answers an encoded `JudgementRequest` with an encoded `JudgementReply`.

        Raises:
            InvalidConfigurationError: A policy does not parse or does not fit the schema.
        """
        self._judge = judge
        self._host = host
        encoded = (host.SerializeToString(), [file.SerializeToString() for file in policies])
        self._core = typed(lambda: _core.Decider(*encoded))

    @property
    def policy_version(self) -> str:
        """Digest of the policies, as decisions record it."""
        return self._core.policy_version()

    def decide(self, proposal: v1.Proposal, level: v1.AutonomyLevel, session: CoreSession | None = None) -> Foreseen:
        """Predicts what a proposal would do, and decides about it with that behind it. Runs nothing."""
        try:
            prediction = predict(proposal, self._host, self._judge)
            encoded = (proposal.SerializeToString(), prediction.SerializeToString())
            decision, error = typed(lambda: self._core.decide(*encoded, level, session))
        except CmdopError as malformed:
            return self._refused(malformed, level)
        refusal = None if error is None else v1.Error.FromString(error)
        return Foreseen(v1.Decision.FromString(decision), prediction, refusal)

    def _refused(self, error: CmdopError, level: v1.AutonomyLevel) -> Foreseen:
        """What is malformed is refused, and what it does is not known."""
        decision = v1.Decision(
            effect=v1.PolicyEffect.POLICY_EFFECT_DENY,
            reason=error.message,
            policy_version=self.policy_version,
            level=level,
        )
        return Foreseen(decision, v1.Prediction(unanalysable=[error.message]), error.proto)
