"""Previews: what a held call would change, shown, committed or thrown away. They are its approvals, by the call."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.approvals import Approvals
from cmdop.client.calls import Calls
from cmdop.errors import ApprovalNotPendingError, ApprovalRequiredError

_DIFF = v1.ApprovalSubject.APPROVAL_SUBJECT_DIFF


class Previews:
    """`client.previews`."""

    def __init__(self, calls: Calls, approvals: Approvals) -> None:
        self._calls = calls
        self._approvals = approvals

    async def get(self, call_id: str) -> v1.Approval:
        """The preview that a call is held for, with its exact diff as an approver sees it.

        Raises:
            UnknownCallError: There is no call of that id.
            ApprovalRequiredError: The call waits for an approval before it runs; the message names it.
            ApprovalNotPendingError: The call was not previewed for a person; the message says how far it is.
        """
        call = await self._calls.get(call_id)
        if call.HasField("approval") and call.approval.subject == _DIFF:
            return await self._approvals.get(call.approval.approval_id)
        if call.HasField("approval") and call.approval.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING:
            raise _before_it_runs(call_id, call.approval.approval_id)
        state = v1.CallState.Name(call.state).removeprefix("CALL_STATE_").replace("_", " ").lower()
        message = f"call {call_id} holds no preview: it is {state}; see `cmdop calls show {call_id}`"
        error = ApprovalNotPendingError(message)
        error.proto.call_id = call_id
        raise error

    async def commit(self, call_id: str, *, digest: str = "", comment: str = "", confirm: str = "") -> v1.Call:
        """Approves exactly the diff of a call's preview, waits until it is applied, and returns the call.

        Args:
            call_id: The held call.
            digest: Of the preview that was looked at; another one is refused. Default: the one it has now.
            comment: Why, for the record.
            confirm: The approval's `confirm`, typed anew, if something of the diff cannot be taken back.

        Raises:
            ApprovalNotPendingError: There is no preview, or it was decided already.
            ApprovalVoidError: The preview is another one than `digest`.
            ConfirmationRequiredError: It cannot be taken back, and its name was not typed.
        """
        return await self._decide(call_id, v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE, digest, comment, confirm)

    async def discard(self, call_id: str, *, comment: str = "") -> v1.Call:
        """Rejects a call's preview: nothing of it changes anything. Returns the settled call.

        Raises:
            ApprovalNotPendingError: There is no preview, or it was decided already.
        """
        return await self._decide(call_id, v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT, "", comment, "")

    async def _decide(
        self, call_id: str, verdict: v1.ApprovalVerdict, digest: str, comment: str, confirm: str
    ) -> v1.Call:
        approval = await self.get(call_id)
        approval.digest = digest or approval.digest
        decided = await self._approvals.decide(approval, verdict, comment=comment, confirm=confirm)
        return await self._calls.settled(call_id, beyond_approval=decided.approval_id)


def _before_it_runs(call_id: str, approval_id: str) -> ApprovalRequiredError:
    """Nothing was previewed: what a person is asked is whether it may run at all."""
    see = f"see `cmdop approvals show {approval_id}`"
    message = f"call {call_id} waits for an approval before it runs, so it has no preview; {see}"
    remedy = v1.Remedy(request_approval=v1.RequestApproval(approval_id=approval_id))
    proto = v1.Error(reason=v1.Reason.REASON_APPROVAL_REQUIRED, message=message, call_id=call_id, remedy=remedy)
    return ApprovalRequiredError(message, proto=proto)
