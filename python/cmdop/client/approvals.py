"""Approvals: what a person decides."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio

from cmdop import v1
from cmdop._bridge import Stream
from cmdop.client.calls import PAGE
from cmdop.client.connection import Connection
from cmdop.errors import DrainingError, UnreachableError

AWAY_S: Final = 60.0
"""How long a server may be away while somebody waits for an answer."""


class Approvals:
    """`client.approvals`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(
        self, *, status: Iterable[v1.ApprovalStatus] = (), call_id: str = "", limit: int = 100
    ) -> list[v1.Approval]:
        """Approvals, newest first, pending ones unless `status` says otherwise.

        Each is abridged to 16 KiB: its `abridged` says where, and `get` has the whole.
        """
        found: list[v1.Approval] = []
        request = v1.ListApprovalsRequest(status=status, call_id=call_id)
        while len(found) < limit:
            request.limit = min(limit - len(found), PAGE)
            answer = await self._connection.unary("Approvals/List", request, v1.ListApprovalsResponse)
            found += answer.approvals
            request.before_approval_id = answer.next_before_approval_id
            if not request.before_approval_id:
                break
        return found

    async def get(self, approval_id: str) -> v1.Approval:
        """One approval, with the exact diff it is about.

        Raises:
            UnknownApprovalError: There is none of that id.
        """
        request = v1.GetApprovalRequest(approval_id=approval_id)
        return await self._connection.unary("Approvals/Get", request, v1.Approval)

    async def decide(
        self,
        approval: v1.Approval | str,
        verdict: v1.ApprovalVerdict,
        *,
        comment: str = "",
        approver: str | None = None,
        confirm: str = "",
        action: v1.Action | None = None,
    ) -> v1.Approval:
        """Answers a pending approval, and returns once that is durable.

        The call goes on when nobody else must agree: then the status is no longer pending. A client that acts
        as an agent answers nothing.

        Args:
            approval: The approval that was looked at: the decision holds for exactly its digest. An
                id stands for the approval as it is now.
            verdict: What was decided.
            comment: Why, for the record.
            approver: Who decided. Default: the client's user.
            confirm: `approval.confirm`, as the person typed it, to approve what cannot be taken back.
            action: For a modification: what is to be done instead.

        Raises:
            ApprovalNotPendingError: It was decided already, or has expired.
            ApprovalVoidError: What it asks is not what was looked at.
            NotApproverError: They may not answer it, or have done so.
            ConfirmationRequiredError: It cannot be taken back, and its name was not typed.
        """
        if isinstance(approval, str):
            approval = await self.get(approval)
        request = v1.DecideApprovalRequest(
            approval_id=approval.approval_id,
            verdict=verdict,
            approver=approver or self._connection.actor.user,
            comment=comment,
            digest=approval.digest,
            confirm=confirm,
            action=action,
            agent=self._connection.actor.agent,
        )
        return await self._connection.unary("Approvals/Decide", request, v1.Approval)

    async def approve(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None, confirm: str = ""
    ) -> v1.Approval:
        """Approves exactly what was looked at. See `decide`."""
        verdict = v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE
        return await self.decide(approval, verdict, comment=comment, approver=approver, confirm=confirm)

    async def reject(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Rejects it: nothing of the call happens. See `decide`."""
        return await self.decide(
            approval, v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT, comment=comment, approver=approver
        )

    async def modify(
        self, approval: v1.Approval | str, action: v1.Action, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Has another action done instead: a call of its own that is validated and decided anew.

        The old call ends with `CALL_MODIFIED` and names the new one in `replaced_by`. See `decide`.

        Raises:
            MalformedCallError: The action is not well formed; the question is as it was.
        """
        verdict = v1.ApprovalVerdict.APPROVAL_VERDICT_MODIFY
        return await self.decide(approval, verdict, comment=comment, approver=approver, action=action)

    async def escalate(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Passes the question on to the next group of its chain. See `decide`."""
        verdict = v1.ApprovalVerdict.APPROVAL_VERDICT_ESCALATE
        return await self.decide(approval, verdict, comment=comment, approver=approver)

    async def terminate(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Rejects it and ends the run or session that asked: nothing more of it is taken. See `decide`."""
        verdict = v1.ApprovalVerdict.APPROVAL_VERDICT_TERMINATE
        return await self.decide(approval, verdict, comment=comment, approver=approver)

    async def decided(self, approval_id: str) -> v1.Approval:
        """Waits until nobody is asked any more, across restarts of the server, and returns the approval.

        Raises:
            UnknownApprovalError: There is none of that id.
            UnreachableError: The server was away for a minute.
        """
        pending = v1.ApprovalStatus.APPROVAL_STATUS_PENDING
        away_since: float | None = None
        while True:
            try:
                async with self.watch() as changes:
                    # The watch began before this look: no change falls between.
                    approval = await self.get(approval_id)
                    away_since = None
                    if approval.status != pending:
                        return approval
                    async for changed in changes:
                        if changed.approval_id == approval_id and changed.status != pending:
                            return changed
            except (UnreachableError, DrainingError):
                now = anyio.current_time()
                away_since = now if away_since is None else away_since
                if now - away_since > AWAY_S:
                    raise
            await anyio.sleep(0.5)

    async def before(self, approval: v1.Approval, *, limit: int = 10) -> list[v1.Call]:
        """What the same run did before, or the same agent where there is no run: newest first."""
        requester = approval.requester
        request = v1.ListCallsRequest(
            limit=limit,
            run=requester.run,
            agent="" if requester.run else requester.agent,
            before_call_id=approval.call_id,
        )
        answer = await self._connection.unary("Calls/List", request, v1.ListCallsResponse)
        return [*answer.calls]

    def watch(self) -> AbstractAsyncContextManager[Stream[v1.Approval]]:
        """All pending approvals, then every change of one, as they come."""
        return self._connection.stream("Approvals/Watch", v1.WatchApprovalsRequest(), v1.Approval)
