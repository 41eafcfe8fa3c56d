"""Trying a policy: what it says about a command or an effect, by the engine and the vocabulary of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from cmdop import v1
from cmdop._bridge import CoreSession, PolicyReview, Review, Reviewed, predict
from cmdop.document import kind_name, parse_expect
from cmdop.policy.session import Session
from cmdop.policy.vocabulary import judge

_LOOKS = ("file.read", "process.inspect", "process.spawn")


@dataclass(frozen=True)
class Situation:
    """Who acts, and where: what a policy may look at beside the action itself."""

    user: str = "user"
    agent: str = ""
    """Name of the agent that acts for the user; empty for a person."""
    level: str = "ask"
    """The agent's level."""
    host: str = "local"
    workspaces: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    home: str = "/root"
    session: Session | None = None
    """What the run or session did before; nothing if absent."""

    def to_actor(self) -> v1.Actor:
        """Who acts, as the core takes it."""
        return v1.Actor(tenant="local", user=self.user, agent=self.agent)

    def to_session(self) -> CoreSession | None:
        """What is supposed of the run, as the core takes it."""
        return None if self.session is None else self.session.to_core(self.host)

    def to_host(self) -> v1.Host:
        """The host, as the core takes it."""
        return v1.Host(name=self.host, workspaces=self.workspaces, labels=self.labels, home=self.home)

    def to_level(self) -> v1.AutonomyLevel:
        """The level, as the core takes it."""
        if not self.agent:
            return v1.AutonomyLevel.AUTONOMY_LEVEL_UNSPECIFIED
        return cast("v1.AutonomyLevel", v1.AutonomyLevel.Value("AUTONOMY_LEVEL_" + self.level.upper()))


def review_command(policy: PolicyReview, command: str, cwd: str, situation: Situation) -> tuple[v1.Prediction, Review]:
    """What a command would do, and what a policy says about that if all of it were declared.

    Raises:
        MalformedCallError: The command cannot be parsed safely.
    """
    action = v1.Action(
        tool="terminal.exec",
        host=situation.host,
        intent="to try a policy",
        arguments_json=json.dumps({"command": command, "cwd": cwd}),
    )
    proposal = v1.Proposal(action=action, actor=situation.to_actor(), idempotency_key="review", author_attempt=1)
    prediction = predict(proposal, situation.to_host(), judge)
    for effect in prediction.effects:
        if kind_name(effect.kind) not in _LOOKS:
            proposal.action.expect.add(kind=effect.kind, target=effect.target, min_count=0)
    return prediction, policy.review(
        proposal, prediction, level=situation.to_level(), host=situation.to_host(), session=situation.to_session()
    )


def review_effect(policy: PolicyReview, effect: str, tool: str, situation: Situation) -> Reviewed:
    """What a policy says about one effect, written `kind:target`.

    Raises:
        ValueError: It is not written so.
    """
    ruling = policy.rule(
        parse_expect(effect),
        tool=tool,
        actor=situation.to_actor(),
        level=situation.to_level(),
        host=situation.to_host(),
        session=situation.to_session(),
    )
    return Reviewed(effect, predicted=True, declared=True, ruling=ruling)
