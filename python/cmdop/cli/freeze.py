"""`cmdop freeze`: nothing changes on some hosts until a person says so."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, Token, User, print_json, usage_error, with_client
from cmdop.client import Client
from cmdop.document import time_text

app: Final = App(
    name="freeze",
    help="Stop every change on some hosts at once, whatever policy allows, until a person lifts it.",
    help_format="plaintext",
)


@app.default
def freeze(
    *,
    why: str,
    host: str | None = None,
    group: str | None = None,
    label: str | None = None,
    env: str | None = None,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
    agent: Annotated[str | None, Parameter(help="The agent that freezes. It cannot lift it.")] = None,
) -> int:
    """Freeze hosts: exactly one of --host, --group, --label, --env and --all.

    Args:
        why: Whoever is refused reads it.
        host: One host by its name.
        group: Every host of a group.
        label: Every host with this label: NAME=VALUE.
        env: Every host of this environment: those with the label env=VALUE.
        everything: Every host.
    """
    given = [scope for scope in (host, group, label, env) if scope is not None]
    if len(given) + everything != 1:
        return usage_error("a freeze is of exactly one of --host, --group, --label, --env and --all", as_json=as_json)
    name, is_pair, value = (label or "").partition("=")
    if label is not None and not is_pair:
        return usage_error(f"--label {label} is not NAME=VALUE", as_json=as_json)

    async def act(client: Client) -> int:
        made = await client.freezes.create(
            why,
            host=host,
            group=group,
            label=None if label is None else (name, value),
            environment=env,
            everything=everything,
        )
        return _print(made, as_json=as_json)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token)


@app.command(name="list")
def list_freezes(
    *,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: AsJson = False,
    server: Server = None,
) -> int:
    """List the freezes in force, newest first.

    Args:
        every: Those that were lifted, too.
    """

    async def act(client: Client) -> int:
        found = await client.freezes.list(lifted=every)
        if as_json:
            print_json([freeze_document(each) for each in found])
        else:
            _print_lines([_line(each) for each in found] or ["nothing is frozen"])
        return ExitCode.DONE

    return with_client(act, as_json=as_json, server=server)


@app.command(name="lift")
def lift_freeze(
    freeze_id: str,
    /,
    *,
    why: str = "",
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
    agent: Annotated[str | None, Parameter(show=False)] = None,
) -> int:
    """Lift a freeze. People only.

    Args:
        freeze_id: Its id.
        why: For the record.
    """

    async def act(client: Client) -> int:
        return _print(await client.freezes.lift(freeze_id, why=why), as_json=as_json)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token)


def freeze_document(freeze: v1.Freeze) -> dict[str, Any]:
    """A freeze as JSON."""
    lift = freeze.lift
    return {
        "freeze_id": freeze.freeze_id,
        "scope": _scope(freeze.scope),
        "why": freeze.why,
        "author": freeze.author.user,
        "agent": freeze.author.agent or None,
        "created_at": time_text(freeze.created_at),
        "lift": None
        if not freeze.HasField("lift")
        else {"by": lift.by.user, "why": lift.why, "lifted_at": time_text(lift.lifted_at)},
    }


def _scope(scope: v1.FreezeScope) -> dict[str, str]:
    match scope.WhichOneof("kind"):
        case "host":
            return {"host": scope.host}
        case "group":
            return {"group": scope.group}
        case "label":
            return {"label": f"{scope.label.name}={scope.label.value}"}
        case _:
            return {"everything": "true"}


def _line(freeze: v1.Freeze) -> str:
    ((kind, what),) = _scope(freeze.scope).items()
    of = "every host" if kind == "everything" else f"{kind} {what}"
    by = freeze.author.agent or freeze.author.user
    lines = f"{freeze.freeze_id}  {of}  by {by} at {time_text(freeze.created_at)}: {freeze.why}"
    if freeze.HasField("lift"):
        lift = freeze.lift
        why = f": {lift.why}" if lift.why else ""
        lines += f"\n    lifted by {lift.by.user} at {time_text(lift.lifted_at)}{why}"
    return lines


def _print(freeze: v1.Freeze, *, as_json: bool) -> int:
    if as_json:
        print_json(freeze_document(freeze))
    else:
        _print_lines([_line(freeze)])
    return ExitCode.DONE


def _print_lines(lines: list[str]) -> None:
    from cmdop.cli.output import console
    from cmdop.document.text import in_row

    console().print("\n".join(in_row(line) for line in lines), markup=False, highlight=False, soft_wrap=True)
