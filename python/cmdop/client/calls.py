"""Calls: one request to use a tool, from proposal to outcome."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio

from cmdop import v1
from cmdop._bridge import Stream
from cmdop.client.connection import Connection
from cmdop.document.read import Expected, expected_effect
from cmdop.errors import CmdopError, OutcomeUnknownError, UnreachableError

FINAL_STATES: Final = frozenset(
    {v1.CallState.CALL_STATE_APPLIED, v1.CallState.CALL_STATE_NOT_APPLIED, v1.CallState.CALL_STATE_UNKNOWN}
)
"""States in which nothing more happens by itself."""

HELD_STATES: Final = frozenset({v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD})
"""States in which a person must decide."""

PAGE: Final = 1_000
"""Entries that are asked for at once; the server sends as many of them as fit into a message."""

RECONNECT_S: Final = 15.0
"""How long a proposal that lost its connection is sent again, under the same key."""


class Calls:
    """`client.calls`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def propose(
        self,
        tool: str,
        host: str,
        arguments: Mapping[str, Any],
        *,
        intent: str = "",
        expect: Iterable[Expected] = (),
        key: str | None = None,
        wait: bool = False,
        author_attempt: int = 1,
        model_call_id: str = "",
    ) -> v1.Call:
        """Proposes an action and waits until it is settled or held.

        Args:
            tool: Name of a tool, such as `terminal.exec`.
            host: Name of a host.
            arguments: What the tool takes; see `client.tools`.
            intent: Why, for whoever approves it. A person may leave it out, an agent may not.
            expect: Every change and contact it will have: `Expect`, `"file.delete:/srv/x"` or the
                message. Tools whose effects follow from their arguments need none.
            key: Idempotency key: the same key runs at most once. Minted if absent.
            wait: Wait for a person's decision, too, instead of returning the held call.
            author_attempt: Which attempt of the author at this step it is, from 1.
            model_call_id: The model's own id of the tool call, for the trace.

        Returns:
            The call. One that was denied, is held or failed carries `error`; see `raise_for_outcome`.

        Raises:
            MalformedCallError: It could not be taken; every fault is in `violations`.
            ServiceError: The server cannot be reached or takes no calls.
            OutcomeUnknownError: The server went away after the call was sent; `message` has the key with
                which proposing it again is safe.
        """
        actor = self._connection.actor
        if not intent and not actor.agent and tool:
            intent = f"{tool}, called by {actor.user}"
        action = v1.Action(
            tool=tool,
            host=host,
            intent=intent,
            arguments_json=json.dumps(arguments, ensure_ascii=False, allow_nan=False),
            expect=[expected_effect(effect) for effect in expect],
        )
        proposal = v1.Proposal(
            action=action,
            idempotency_key=key or "",
            author_attempt=author_attempt,
            model_call_id=model_call_id,
        )
        return await self.submit(proposal, wait=wait)

    async def submit(self, proposal: v1.Proposal, *, wait: bool = False) -> v1.Call:
        """Proposes a proposal as it is; an absent actor or key is filled in. See `propose`."""
        filled = v1.Proposal()
        filled.CopyFrom(proposal)
        if not filled.HasField("actor"):
            filled.actor.CopyFrom(self._connection.actor)
        # Minted here and not by the server, so that sending it again cannot run it twice.
        filled.idempotency_key = filled.idempotency_key or f"py-{uuid.uuid4().hex}"
        request = v1.ProposeRequest(proposal=filled, wait_for_decision=wait)
        return await self._send_until_answered(request)

    async def _send_until_answered(self, request: v1.ProposeRequest) -> v1.Call:
        """Sends it again, with jittered pauses, while the server is away. Its key makes that safe."""
        pause_s = 0.1
        give_up_at: float | None = None
        lost: OutcomeUnknownError | None = None
        while True:
            try:
                return await self._connection.unary("Calls/Propose", request, v1.Call)
            except (UnreachableError, OutcomeUnknownError) as error:
                if isinstance(error, OutcomeUnknownError):
                    if error.call_id:
                        # The server's own word on a call that it has.
                        raise
                    # It was sent, and may have arrived: no later attempt takes that back.
                    lost = error
                now = anyio.current_time()
                give_up_at = now + RECONNECT_S if give_up_at is None else give_up_at
                if now + pause_s > give_up_at:
                    raise (lost or error) from error
            await anyio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, 2.0)

    async def get(self, call_id: str) -> v1.Call:
        """One call.

        Raises:
            UnknownCallError: There is none of that id.
        """
        return await self._connection.unary("Calls/Get", v1.GetCallRequest(call_id=call_id), v1.Call)

    async def list(
        self,
        *,
        limit: int = 100,
        run: str = "",
        agent: str = "",
        before: str = "",
        states: Iterable[v1.CallState] = (),
    ) -> list[v1.Call]:
        """Calls, newest first; `before` is the id of the last one of those that are known already.

        Each is abridged to 16 KiB: its `abridged` says where, and `get` has the whole.
        """
        found: list[v1.Call] = []
        request = v1.ListCallsRequest(run=run, agent=agent, before_call_id=before, states=states)
        while len(found) < limit:
            request.limit = min(limit - len(found), PAGE)
            answer = await self._connection.unary("Calls/List", request, v1.ListCallsResponse)
            found += answer.calls
            request.before_call_id = answer.next_before_call_id
            if not request.before_call_id:
                break
        return found

    async def reconcile(self, call_id: str, outcome: v1.Outcome, *, why: str, without_host: bool = False) -> v1.Call:
        """Settles a call whose outcome is unknown by what a person found, and returns once that is durable.

        It is recorded as their word, and measures nothing: what its host measured, and reports later, is the outcome
        then. The call's key stays spent. A client that acts as an agent settles nothing.

        Args:
            call_id: A call whose outcome is unknown.
            outcome: What was found: applied or not applied.
            why: What was seen.
            without_host: Settle it although its host is away, whose own ledger may tell what became of it.

        Raises:
            UnknownCallError: There is none of that id.
            InvalidActionError: It is known what became of it, or nothing was found.
            HostUnavailableError: Its host is away, and this is not `without_host`.
            UnauthenticatedError: The server knows its approvers, and nothing shows that this is one.
        """
        by = self._connection.actor
        request = v1.ReconcileCallRequest(call_id=call_id, outcome=outcome, by=by, why=why, without_host=without_host)
        return await self._connection.unary("Calls/Reconcile", request, v1.Call)

    def watch(self, call_id: str, *, output_from: int = 0) -> AbstractAsyncContextManager[Stream[v1.CallUpdate]]:
        """The call as it is, then each change of state and each piece of output until it is settled.

        ::

            async with client.calls.watch(call_id) as updates:
                async for update in updates:
                    ...
        """
        request = v1.WatchCallRequest(call_id=call_id, output_from=output_from)
        return self._connection.stream("Calls/Watch", request, v1.CallUpdate)

    async def undo(self, call_id: str, *, intent: str = "", key: str | None = None, wait: bool = False) -> v1.Call:
        """Proposes to take back what a call changed on files of its host, and waits as `propose` does.

        The declaration is the inverse of what the host observed of that call. Everything must still be
        as that call left it; else the undo fails with NOT_RESTORABLE, naming the paths, and restores
        nothing.

        Args:
            call_id: The call to take back.
            intent: Why; see `propose`.
            key: Idempotency key; see `propose`.
            wait: Wait for a person's decision, too.

        Raises:
            UnknownCallError: There is no call of that id.
        """
        done = await self.get(call_id)
        return await self.propose(
            "files.undo",
            done.proposal.action.host,
            {"call": call_id},
            intent=intent or f"undo call {call_id}: {done.proposal.action.intent}"[:500],
            expect=inverse(done.observation),
            key=key,
            wait=wait,
        )

    async def settled(self, call_id: str, *, beyond_approval: str | None = None) -> v1.Call:
        """Waits until a call is settled, and returns it.

        Args:
            call_id: Its id.
            beyond_approval: Return as well when it is held for another approval than this one.
        """
        async with self.watch(call_id) as updates:
            async for update in updates:
                if not update.HasField("call"):
                    continue
                call = update.call
                held_anew = call.state in HELD_STATES and call.approval.approval_id != beyond_approval
                if call.state in FINAL_STATES or (beyond_approval is not None and held_anew):
                    return call
        return await self.get(call_id)

    async def cancel(self, call_id: str, *, why: str = "") -> v1.Call:
        """Stops a call: a held one is rejected, a running one killed. Settled ones stay as they are."""
        return await self._connection.unary("Calls/Cancel", v1.CancelCallRequest(call_id=call_id, why=why), v1.Call)


def inverse(observation: v1.Observation) -> list[v1.ExpectedEffect]:
    """What taking back observed changes of files would do, as a declaration."""
    kinds = v1.EffectKind
    same = {kinds.EFFECT_KIND_FILE_MODIFY, kinds.EFFECT_KIND_FILE_CHMOD, kinds.EFFECT_KIND_FILE_CHOWN}
    expected: list[v1.ExpectedEffect] = []
    # What lies in a directory that goes goes with it. Parents come first.
    goes: list[str] = []
    moved: dict[str, str] = {}
    # Where what is gone went; nowhere, if it was deleted with all that lay in it.
    gone: dict[str, str | None] = {}
    for effect in sorted(observation.effects, key=lambda effect: effect.target):
        change = effect.file
        if effect.kind in same:
            expected.append(v1.ExpectedEffect(kind=effect.kind, target=effect.target))
        elif effect.kind == kinds.EFFECT_KIND_FILE_CREATE and change.renamed:
            # What lies in a directory that moves moves with it.
            above = (at for at in moved if effect.target.startswith(f"{at}/"))
            if not any(change.renamed == moved[at] + effect.target[len(at) :] for at in above):
                moved[effect.target] = change.renamed
                expected.append(v1.ExpectedEffect(kind=kinds.EFFECT_KIND_FILE_RENAME, target=effect.target))
        elif effect.kind == kinds.EFFECT_KIND_FILE_CREATE:
            if not any(effect.target.startswith(f"{above}/") for above in goes):
                goes.append(effect.target)
                expected.append(v1.ExpectedEffect(kind=kinds.EFFECT_KIND_FILE_DELETE, target=effect.target))
        elif effect.kind in (kinds.EFFECT_KIND_FILE_RENAME, kinds.EFFECT_KIND_FILE_DELETE):
            to = change.renamed or None
            above = (at for at in gone if effect.target.startswith(f"{at}/"))
            # It went with the directory that it lay in, and comes back with it.
            if any(gone[at] is None or to == f"{gone[at]}{effect.target[len(at) :]}" for at in above):
                continue
            gone[effect.target] = to
            is_tree = to is None and change.before.type == v1.FileType.FILE_TYPE_DIRECTORY
            target = f"{effect.target}/**" if is_tree else effect.target
            expected.append(v1.ExpectedEffect(kind=kinds.EFFECT_KIND_FILE_CREATE, target=target))
    return expected


def raise_for_outcome(call: v1.Call) -> v1.Call:
    """Returns a call that did what it said; raises the typed error of any other.

    Raises:
        RefusedError: It was denied or rejected, or is held (`ApprovalRequiredError`).
        ExecutionError: It ran and failed, or nobody knows its outcome.
    """
    if call.HasField("error"):
        error = v1.Error()
        error.CopyFrom(call.error)
        error.call_id = error.call_id or call.call_id
        raise CmdopError.from_proto(error)
    if call.outcome == v1.Outcome.OUTCOME_UNKNOWN:
        proto = v1.Error(
            reason=v1.Reason.REASON_OUTCOME_UNKNOWN,
            message=f"nobody can tell whether call {call.call_id} happened; find out before anything else",
            remedy=v1.Remedy(reconcile=v1.Reconcile(call_id=call.call_id)),
            call_id=call.call_id,
        )
        raise OutcomeUnknownError(proto.message, proto=proto)
    return call


def result_of(call: v1.Call) -> dict[str, Any]:
    """The tool's result as an object, of a call that did what it said. See `raise_for_outcome`."""
    result: dict[str, Any] = json.loads(raise_for_outcome(call).result.result_json or "{}")
    return result
