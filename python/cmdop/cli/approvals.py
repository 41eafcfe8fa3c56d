"""`cmdop approvals`: what waits for a person."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import EllipsisType
from typing import Annotated

import anyio
import anyio.to_thread
from cyclopts import Parameter

from cmdop import v1
from cmdop.cli.call import modified
from cmdop.cli.exit import ExitCode, code_of_call
from cmdop.cli.session import AsJson, Limit, Server, Token, User, print_json, say_abridged, with_client
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
        limit: At most this many, up to 1,000. What is large is abridged; `cmdop approvals show` has the whole.
    """

    async def act(client: Client) -> int:
        found = await client.approvals.list(status=_EVERY if every else (), call_id=call, limit=limit)
        if as_json:
            print_json([approval_document(approval) for approval in found])
        else:
            from cmdop.cli.output import approvals_table, console

            console().print(approvals_table(found))
        say_abridged(found, "cmdop approvals show")
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def show_approval(approval_id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show what is asked: intent, command, exact diff, why it is held, who agreed, and what was done before.

    Args:
        approval_id: Its id.
    """

    async def act(client: Client) -> int:
        approval = await client.approvals.get(approval_id)
        print_approval(approval, as_json=as_json, before=await client.approvals.before(approval))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def approve(
    approval_id: str,
    /,
    *,
    comment: str = "",
    digest: str = "",
    confirm: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Approve, wait for the call, and show what became of it.

    The exit code is the call's: 0 if it was applied, 5 if it failed. While others must agree, too, it is 0.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
        digest: Approve only if its digest is this one, as `cmdop approvals show` printed it.
        confirm: For what cannot be taken back: its name, as `cmdop approvals show` printed it. Asked for at a terminal.
    """
    verdict = v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE

    async def act(client: Client) -> int:
        approval = await client.approvals.get(approval_id)
        approval.digest = digest or approval.digest
        typed = confirm
        if approval.confirm and not typed and not as_json and sys.stdin.isatty():
            print_approval(approval, as_json=False, before=await client.approvals.before(approval))
            typed = await anyio.to_thread.run_sync(input, "Type its name to approve what cannot be taken back: ")
        decided = await client.approvals.decide(approval, verdict, comment=comment, confirm=typed)
        return await _show_decided(client, decided, as_json=as_json, is_wanted=True)

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


def reject(
    approval_id: str,
    /,
    *,
    comment: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Reject: nothing of the call happens. The exit code is 0 once that is durable.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
    """
    return _decide(approval_id, v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT, comment, as_json, server, user, token)


def modify(
    approval_id: str,
    /,
    *,
    arg: Annotated[list[str] | None, Parameter(negative="")] = None,
    expect: Annotated[list[str] | None, Parameter(negative="")] = None,
    intent: str = "",
    comment: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Have another action done instead. It is validated and decided anew, as a call of its own, which is shown.

    The exit code is that call's: 4 if it waits for a person, as most do.

    Args:
        approval_id: Its id.
        arg: NAME=VALUE of an argument that is to be another. Repeat it for more.
        expect: KIND:TARGET of an effect that the new action has; given once, they take the place of all of the old.
        intent: Why, if not as before.
        comment: Why, for the record.
    """

    async def act(client: Client) -> int:
        approval = await client.approvals.get(approval_id)
        action = await modified(client, approval.action, arg or (), expect or ())
        action.intent = intent or action.intent
        decided = await client.approvals.modify(approval, action, comment=comment)
        return await _show_decided(client, decided, as_json=as_json, is_wanted=True)

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


def escalate(
    approval_id: str,
    /,
    *,
    comment: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Pass the question on to the next group of its chain. The exit code is 0 once that is durable.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
    """
    return _decide(approval_id, v1.ApprovalVerdict.APPROVAL_VERDICT_ESCALATE, comment, as_json, server, user, token)


def terminate(
    approval_id: str,
    /,
    *,
    comment: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Reject, and end the run or session that asked: nothing more of it is taken.

    Args:
        approval_id: Its id.
        comment: Why, for the record.
    """
    return _decide(approval_id, v1.ApprovalVerdict.APPROVAL_VERDICT_TERMINATE, comment, as_json, server, user, token)


def _decide(
    approval_id: str,
    verdict: v1.ApprovalVerdict,
    comment: str,
    as_json: bool,
    server: str | None,
    user: str | None,
    token: str | None,
) -> int:
    async def act(client: Client) -> int:
        decided = await client.approvals.decide(approval_id, verdict, comment=comment)
        return await _show_decided(client, decided, as_json=as_json, is_wanted=False)

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


async def _show_decided(client: Client, decided: v1.Approval, *, as_json: bool, is_wanted: bool) -> int:
    """Shows who must still agree, or what became of the call. The exit code is the call's if it was wanted."""
    if decided.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING:
        print_approval(decided, as_json=as_json, call=None)
        return ExitCode.DONE
    call = await client.calls.settled(decided.call_id, beyond_approval=decided.approval_id)
    if call.replaced_by:
        call = await client.calls.settled(call.replaced_by, beyond_approval=decided.approval_id)
    if as_json:
        print_json(approval_document(decided) | {"call": call_document(call)})
    else:
        from cmdop.cli.output import call_view, console

        console().print(call_view(call))
    return code_of_call(call) if is_wanted else ExitCode.DONE


def print_approval(
    approval: v1.Approval, *, as_json: bool, before: Sequence[v1.Call] | None = None, call: EllipsisType | None = ...
) -> None:
    """Prints an approval with its exact diff. In JSON `call` is null while others must answer, too."""
    if as_json:
        document = approval_document(approval)
        if before is not None:
            document["before"] = [call_document(one) for one in before]
        if call is None:
            document["call"] = None
        print_json(document)
        return
    from cmdop.cli.output import approval_view, console

    console().print(approval_view(approval, before))
