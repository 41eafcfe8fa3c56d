"""`cmdop preview`: what a held call would change, before anything changes."""

from __future__ import annotations

from cmdop import v1
from cmdop.cli.approvals import print_approval
from cmdop.cli.exit import ExitCode, code_of_call
from cmdop.cli.session import AsJson, Server, Token, User, print_json, with_client
from cmdop.client import Client
from cmdop.document import call_document


def show_preview(call_id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show the exact diff that a call is held for.

    Args:
        call_id: The held call; see `cmdop calls list`.
    """

    async def act(client: Client) -> int:
        approval = await client.previews.get(call_id)
        print_approval(approval, as_json=as_json)
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def commit_preview(
    call_id: str,
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
    """Approve exactly the previewed diff, apply it, and show the call. The exit code is the call's.

    Args:
        call_id: The held call.
        comment: Why, for the record.
        digest: Commit only if the preview's digest is this one, as `cmdop preview show` printed it.
        confirm: For what cannot be taken back: its name, as `cmdop preview show` printed it.
    """

    async def act(client: Client) -> int:
        call = await client.previews.commit(call_id, digest=digest, comment=comment, confirm=confirm)
        _show(call, as_json=as_json)
        return code_of_call(call)

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


def discard_preview(
    call_id: str,
    /,
    *,
    comment: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Reject the previewed diff: nothing changes. The exit code is 0 once that is durable.

    Args:
        call_id: The held call.
        comment: Why, for the record.
    """

    async def act(client: Client) -> int:
        call = await client.previews.discard(call_id, comment=comment)
        _show(call, as_json=as_json)
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


def _show(call: v1.Call, *, as_json: bool) -> None:
    if as_json:
        print_json(call_document(call))
    else:
        from cmdop.cli.output import call_view, console

        console().print(call_view(call))
