"""Approvals: what a person decides."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from cmdop import v1
from cmdop._bridge import Stream
from cmdop.client.connection import Connection


class Approvals:
    """`client.approvals`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(
        self, *, status: Iterable[v1.ApprovalStatus] = (), call_id: str = "", limit: int = 100
    ) -> list[v1.Approval]:
        """Approvals, pending ones unless `status` says otherwise; at most 1,000."""
        request = v1.ListApprovalsRequest(status=status, call_id=call_id, limit=limit)
        answer = await self._connection.unary("Approvals/List", request, v1.ListApprovalsResponse)
        return [*answer.approvals]

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
    ) -> v1.Approval:
        """Decides a pending approval, and returns once that is durable. The call then goes on.

        Args:
            approval: The approval that was looked at: the decision holds for exactly its digest. An
                id stands for the approval as it is now.
            verdict: What was decided.
            comment: Why, for the record.
            approver: Who decided. Default: the client's user.

        Raises:
            ApprovalNotPendingError: It was decided already, or has expired.
            ApprovalVoidError: What it asks is not what was looked at.
        """
        if isinstance(approval, str):
            approval = await self.get(approval)
        request = v1.DecideApprovalRequest(
            approval_id=approval.approval_id,
            verdict=verdict,
            approver=approver or self._connection.actor.user,
            comment=comment,
            digest=approval.digest,
        )
        return await self._connection.unary("Approvals/Decide", request, v1.Approval)

    async def approve(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Approves exactly what was looked at. See `decide`."""
        return await self.decide(
            approval, v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE, comment=comment, approver=approver
        )

    async def reject(
        self, approval: v1.Approval | str, *, comment: str = "", approver: str | None = None
    ) -> v1.Approval:
        """Rejects it: nothing of the call happens. See `decide`."""
        return await self.decide(
            approval, v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT, comment=comment, approver=approver
        )

    def watch(self) -> AbstractAsyncContextManager[Stream[v1.Approval]]:
        """All pending approvals, then every change of one, as they come."""
        return self._connection.stream("Approvals/Watch", v1.WatchApprovalsRequest(), v1.Approval)
