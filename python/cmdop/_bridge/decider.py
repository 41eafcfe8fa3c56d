"""Decisions without a server: the core predicts and decides, the vocabulary answers its questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cmdop import _core, v1
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
        try:
            self._core = _core.Decider(host.SerializeToString(), [file.SerializeToString() for file in policies])
        except _core.CoreError as error:
            raise CmdopError.from_bytes(error.args[0]) from None

    @property
    def policy_version(self) -> str:
        """Digest of the policies, as decisions record it."""
        return self._core.policy_version()

    def decide(self, proposal: v1.Proposal, level: v1.AutonomyLevel) -> Foreseen:
        """Predicts what a proposal would do, and decides about it. Runs nothing."""
        foresight = self._core.propose(proposal.SerializeToString(), level)
        while (question := foresight.question()) is not None:
            foresight.answer(self._judge(question))
        decision, prediction, error = foresight.verdict()
        return Foreseen(
            v1.Decision.FromString(decision),
            v1.Prediction.FromString(prediction),
            v1.Error.FromString(error) if error else None,
        )
