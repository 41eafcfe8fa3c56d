"""`cmdop approvals`: what waits for a person."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cmdop import v1
from cmdop.cli.exit import ExitCode, code_of_call
from cmdop.cli.session import AsJson, Limit, Server, User, print_json, with_client
from cmdop.client import Client
from cmdop.document import approval_document, call_document

_EVERY = (
    v1.ApprovalStatus.APPROVAL_STATUS_PENDING,
    v1.ApprovalStatus.APPROVAL_STATUS_APPROVED,
    v1.ApprovalStatus.APPROVAL_STATUS_REJECTED,
    v1.ApprovalStatus.APPROVAL_STATUS_EXPIRED,
    v1.ApprovalStatus.APPROVAL_STATUS_USED,
    v1.ApprovalStatus.APPROVAL_STATUS_VOID,
)


def list_approvals(
    *,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    call: str = "",
    limit: Limit = 100,
    as_json: AsJson = False,
    server: Server = None,
) -> int:
    """List approvals.

    Args:
        every: Decided and expired ones, too.
        call: Only those of this call.
        limit: At most this many, up to 1,000.
    """

    async def act(client: Client) -> int:
        found = await client.approvals.list(status=_EVERY if every else (), call_id=call, limit=limit)
        if as_json:
            print_json([approval_document(approval) for approval in found])
        else:
            from cmdop.cli.output import approvals_table, console

            console().print(approvals_table(found))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def show_approval(approval_id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show an approval with the exact diff it is about.

    Args:
        approval_id: Its id.
    """

    async def act(client: Client) -> int:
        approval = await client.approvals.get(approval_id)
        print_approval(approval, as_json=as_json)
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def approve(
    approval_id: str,
    /,
    *,
    comment: str = "",
    digest: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
) -> int:
    """Approve, wait for the call, and show what became of it.

    The exit code is the call's: 0 if it was applied, 5 if it failed.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
        digest: Approve only if its digest is this one, as `cmdop approvals show` printed it.
    """
    return _decide(approval_id, v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE, comment, digest, as_json, server, user)


def reject(
    approval_id: str, /, *, comment: str = "", as_json: AsJson = False, server: Server = None, user: User = None
) -> int:
    """Reject: nothing of the call happens. The exit code is 0 once that is durable.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
    """
    return _decide(approval_id, v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT, comment, "", as_json, server, user)


def _decide(
    approval_id: str,
    verdict: v1.ApprovalVerdict,
    comment: str,
    digest: str,
    as_json: bool,
    server: str | None,
    user: str | None,
) -> int:
    async def act(client: Client) -> int:
        approval = await client.approvals.get(approval_id)
        approval.digest = digest or approval.digest
        decided = await client.approvals.decide(approval, verdict, comment=comment)
        call = await client.calls.settled(decided.call_id, beyond_approval=decided.approval_id)
        if as_json:
            print_json(approval_document(decided) | {"call": call_document(call)})
        else:
            from cmdop.cli.output import call_view, console

            console().print(call_view(call))
        is_approved = verdict == v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE
        return code_of_call(call) if is_approved else ExitCode.DONE

    return with_client(act, as_json=as_json, server=server, user=user)


def print_approval(approval: v1.Approval, *, as_json: bool) -> None:
    """Prints an approval with the exact diff it is about."""
    if as_json:
        print_json(approval_document(approval))
        return
    from cmdop.cli.output import approval_view, console

    console().print(approval_view(approval))
