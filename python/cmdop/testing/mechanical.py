"""An agent without a model: it proposes, follows the remedies of what comes back, and understands nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio

from cmdop import v1
from cmdop._bridge import check_json
from cmdop.agent.follow import Again, Later, Step, Stop, follow
from cmdop.client import Client
from cmdop.document import proposal_from_document
from cmdop.errors import CmdopError, MalformedJsonError

Propose = Callable[[v1.Proposal], Awaitable[v1.Call]]
"""How a proposal is sent: `client.calls.submit`."""

ATTEMPTS: Final = 3
"""How often one action is proposed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of an action."""

    accepted: bool
    """It was applied as it was proposed last."""
    attempts: int
    errors: tuple[v1.Error, ...]
    """What each attempt that failed was answered with."""
    step: Step | None
    """What the last remedy asks for that a machine cannot do, or what it would have done next; None if accepted."""
    action: dict[str, Any] | str
    """What was proposed last."""


class MechanicalAgent:
    """Proposes actions and follows remedies, at most three attempts each.

    Args:
        client: An open client. It acts in its name.
        propose: Takes the client's place in sending, for tests that stand in between.
    """

    def __init__(self, client: Client, *, propose: Propose | None = None) -> None:
        self._propose = propose or client.calls.submit

    async def act(self, action: dict[str, Any] | str) -> Ended:
        """Works on one action, given as its JSON object or as the text that should be one."""
        errors: list[v1.Error] = []
        key, step = "", cast("Step | None", None)
        for attempt in range(1, ATTEMPTS + 1):
            key = key or f"mechanical-{uuid.uuid4().hex}"
            error, is_over = await self._try(action, key, attempt)
            if error is None:
                return Ended(True, attempt, tuple(errors), None, action)
            errors.append(error)
            # What may have done something already is not done again.
            step = Stop("it was done, though not as it said") if is_over else follow(_object(action), error)
            match step:
                case Again(mended):
                    action, key = mended, ""
                    mended.pop("idempotency_key", None)
                case Later(after_s, new_key) if attempt < ATTEMPTS:
                    key = "" if new_key else key
                    await anyio.sleep(after_s)
                case _:
                    break
        return Ended(False, len(errors), tuple(errors), step, action)

    async def _try(self, action: dict[str, Any] | str, key: str, attempt: int) -> tuple[v1.Error | None, bool]:
        """Why it was not accepted, and whether it may have done something all the same."""
        try:
            if isinstance(action, str):
                check_json("the call", action.encode())
                action = cast("dict[str, Any]", json.loads(action))
            proposal = _proposal(action)
            proposal.idempotency_key = proposal.idempotency_key or key
            proposal.author_attempt = attempt
            call = await self._propose(proposal)
        except CmdopError as error:
            return error.proto, False
        if call.HasField("error"):
            return call.error, call.outcome not in (v1.Outcome.OUTCOME_NOT_APPLIED, v1.Outcome.OUTCOME_UNSPECIFIED)
        return None, False


def _object(action: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(action, dict):
        return action
    try:
        return dict(json.loads(action))
    except (ValueError, TypeError):
        return {}


def _proposal(action: dict[str, Any]) -> v1.Proposal:
    """The proposal of an action whose arguments may be text that could not be read."""
    text = action.get("arguments")
    if not isinstance(text, str):
        return proposal_from_document(action)
    around: dict[str, Any] = {name: value for name, value in action.items() if name != "arguments"}
    proposal = proposal_from_document(around)
    try:
        check_json("the arguments", text.encode())
    except MalformedJsonError:
        # The server says what is wrong with it, and records that it was asked.
        proposal.action.arguments_json = text
        return proposal
    return proposal_from_document(action)
