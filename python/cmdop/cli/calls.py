"""`cmdop calls`: what was asked for."""

from __future__ import annotations

from typing import Literal

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Limit, Server, Token, User, print_json, say_abridged, with_client
from cmdop.client import Client
from cmdop.document import call_document


def list_calls(
    *, limit: Limit = 20, run: str = "", agent: str = "", as_json: AsJson = False, server: Server = None
) -> int:
    """List calls, newest first.

    Args:
        limit: At most this many, up to 1,000. What is large is abridged; `cmdop calls show` has the whole.
        run: Only those of this run.
        agent: Only those of this agent.
    """

    async def act(client: Client) -> int:
        found = await client.calls.list(limit=limit, run=run, agent=agent)
        if as_json:
            print_json([call_document(call) for call in found])
        else:
            from cmdop.cli.output import calls_table, console

            console().print(calls_table(found))
        say_abridged(found, "cmdop calls show")
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def show_call(call_id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show a call: decision, effects, scores, result, error.

    Args:
        call_id: Its id.
    """

    async def act(client: Client) -> int:
        call = await client.calls.get(call_id)
        if as_json:
            print_json(call_document(call))
        else:
            from cmdop.cli.output import call_view, console

            console().print(call_view(call))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


def reconcile_call(
    call_id: str,
    /,
    *,
    outcome: Literal["applied", "not_applied"],
    why: str,
    without_host: bool = False,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Settle a call whose outcome is unknown by what you found on the machine.

    It is recorded as your word beside what was measured. The call's key stays spent. What its host measured, and
    reports when it is back, is the outcome then, whatever you said. The exit code is 0 once your word is durable.

    Args:
        call_id: Its id.
        outcome: What you found: its effects are there, or nothing of it is.
        why: What you saw, for the record.
        without_host: Settle it although its host is away, whose own ledger may tell what became of it.
    """

    async def act(client: Client) -> int:
        found = v1.Outcome.OUTCOME_APPLIED if outcome == "applied" else v1.Outcome.OUTCOME_NOT_APPLIED
        call = await client.calls.reconcile(call_id, found, why=why, without_host=without_host)
        if as_json:
            print_json(call_document(call))
        else:
            from cmdop.cli.output import call_view, console

            console().print(call_view(call))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server, user=user, token=token)


def cancel_call(call_id: str, /, *, why: str = "", as_json: AsJson = False, server: Server = None) -> int:
    """Stop a call: a held one is rejected, a running one killed.

    Args:
        call_id: Its id.
        why: For the record.
    """

    async def act(client: Client) -> int:
        call = await client.calls.cancel(call_id, why=why)
        if as_json:
            print_json(call_document(call))
        else:
            from cmdop.cli.output import call_view, console

            console().print(call_view(call))
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)
