"""`cmdop grants`: what people agreed to beforehand, for an agent, a few times and for a while."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, Token, User, print_json, usage_error, with_client
from cmdop.client import Client
from cmdop.document import kind_name, time_text

app: Final = App(
    name="grants",
    help="Agree beforehand to a few uses of a narrow effect by one agent, and take that back.",
    help_format="plaintext",
)

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Agent = Annotated[str | None, Parameter(show=False)]


@app.command(name="create")
def create_grant(
    effect: str,
    /,
    *,
    to: str,
    why: str,
    uses: int,
    ttl: Annotated[str, Parameter(name="--for")],
    host: str | None = None,
    group: str | None = None,
    label: str | None = None,
    max_count: int | None = None,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
    agent: Agent = None,
) -> int:
    """Agree to an effect beforehand, on exactly one of --host, --group and --label. People only.

    Args:
        effect: KIND:TARGET, such as file.delete:/srv/app/logs/*.gz.
        to: The agent that may use it.
        why: For the record.
        uses: How many permits may be made by it, 1 to 1000.
        ttl: How long it holds, at most 30 days: 30m, 8h, 7d.
        host: One host by its name.
        group: Every host of a group.
        label: Every host with this label: NAME=VALUE.
        max_count: How often the effect may happen in one call.
    """
    if len([scope for scope in (host, group, label) if scope is not None]) != 1:
        return usage_error("a grant is for exactly one of --host, --group and --label", as_json=as_json)
    name, is_pair, value = (label or "").partition("=")
    if label is not None and not is_pair:
        return usage_error(f"--label {label} is not NAME=VALUE", as_json=as_json)
    written = re.fullmatch(r"([0-9]{1,7})([smhd])", ttl)
    if written is None:
        return usage_error(f"--for {ttl} is no time; write it like 30m, 8h or 7d", as_json=as_json)
    time_s = int(written[1]) * UNITS[written[2]]

    async def act(client: Client) -> int:
        made = await client.grants.create(
            to,
            effect,
            why=why,
            uses=uses,
            ttl=timedelta(seconds=time_s),
            host=host,
            group=group,
            label=None if label is None else (name, value),
            max_count=max_count,
        )
        return _print(made, as_json=as_json)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token)


@app.command(name="list")
def list_grants(
    *,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: AsJson = False,
    server: Server = None,
) -> int:
    """List the grants in force with their remaining uses, newest first.

    Args:
        every: Those that are spent, expired or revoked, too.
    """

    async def act(client: Client) -> int:
        found = await client.grants.list(every=every)
        if as_json:
            print_json([grant_document(each) for each in found])
        else:
            _print_lines([_line(each) for each in found] or ["nothing is granted"])
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


@app.command(name="show")
def show_grant(grant_id: str, /, *, as_json: AsJson = False, server: Server = None) -> int:
    """Show a grant.

    Args:
        grant_id: Its id.
    """

    async def act(client: Client) -> int:
        return _print(await client.grants.get(grant_id), as_json=as_json)

    return with_client(act, as_json=as_json, server=server)


@app.command(name="revoke")
def revoke_grant(
    grant_id: str,
    /,
    *,
    why: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
    agent: Agent = None,
) -> int:
    """Revoke a grant at once. People only.

    Args:
        grant_id: Its id.
        why: For the record.
    """

    async def act(client: Client) -> int:
        return _print(await client.grants.revoke(grant_id, why=why), as_json=as_json)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token)


def grant_document(grant: v1.StandingGrant) -> dict[str, Any]:
    """A grant as JSON."""
    revocation = grant.revocation
    return {
        "grant_id": grant.grant_id,
        "status": _status(grant),
        "agent": grant.agent,
        "hosts": _scope(grant.hosts),
        "effect": _effect(grant.effect),
        "max_count": grant.effect.max_count if grant.effect.HasField("max_count") else None,
        "uses": grant.uses,
        "used": grant.used,
        "remaining": max(0, grant.uses - grant.used),
        "expires_at": time_text(grant.expires_at),
        "why": grant.why,
        "author": grant.author.user,
        "created_at": time_text(grant.created_at),
        "revocation": None
        if not grant.HasField("revocation")
        else {"by": revocation.by.user, "why": revocation.why, "revoked_at": time_text(revocation.revoked_at)},
    }


def _status(grant: v1.StandingGrant) -> str:
    if grant.HasField("revocation"):
        return "revoked"
    if grant.used >= grant.uses:
        return "spent"
    return "expired" if time.time_ns() >= grant.expires_at else "in_force"


def _effect(effect: v1.PermittedEffect) -> str:
    return f"{kind_name(effect.kind)}:{effect.target}"


def _scope(scope: v1.FreezeScope) -> dict[str, str]:
    match scope.WhichOneof("kind"):
        case "group":
            return {"group": scope.group}
        case "label":
            return {"label": f"{scope.label.name}={scope.label.value}"}
        case _:
            return {"host": scope.host}


def _line(grant: v1.StandingGrant) -> str:
    ((kind, what),) = _scope(grant.hosts).items()
    left = f"{max(0, grant.uses - grant.used)} of {grant.uses} uses left until {time_text(grant.expires_at)}"
    status = {"in_force": left, "revoked": f"revoked by {grant.revocation.by.user}"}.get(_status(grant), _status(grant))
    most = f" (at most {grant.effect.max_count} a call)" if grant.effect.HasField("max_count") else ""
    granted = f"{grant.agent} may {_effect(grant.effect)}{most} on {kind} {what}"
    return f"{grant.grant_id}  {granted}  {status}, by {grant.author.user}: {grant.why}"


def _print(grant: v1.StandingGrant, *, as_json: bool) -> int:
    if as_json:
        print_json(grant_document(grant))
    else:
        _print_lines([_line(grant)])
    return ExitCode.DONE


def _print_lines(lines: list[str]) -> None:
    from cmdop.cli.output import console
    from cmdop.document.text import in_row

    console().print("\n".join(in_row(line) for line in lines), markup=False, highlight=False, soft_wrap=True)
