"""`cmdop approvers`: who answers approvals, and the tokens by which a server knows them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from cmdop.cli.exit import ExitCode
from cmdop.cli.serve import data_directory
from cmdop.cli.session import AsJson, print_json, reported
from cmdop.errors import InvalidActionError, InvalidConfigurationError
from cmdop.server.approvers import Approver, changing, digest_of, load_approvers, new_token

app: Final = App(
    name="approvers",
    help="Say who answers approvals. Once there is one, only they approve, grant and freeze, each with their token.",
    help_format="plaintext",
)

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+:/-]{0,127}")

Data = Annotated[Path | None, Parameter(help="Data directory of the server. [default: ~/.local/share/cmdop]")]


@app.command(name="add")
def add_approver(
    name: str,
    /,
    *,
    group: Annotated[list[str] | None, Parameter(negative="")] = None,
    replace: Annotated[bool, Parameter(negative="")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Add a person, and print their token. It is shown this once: only its digest is kept.

    A running server knows of it after `cmdop policy reload`.

    Args:
        name: Who it is.
        group: A group of users that they are in, beside those of entities.toml. Repeat it for more.
        replace: Give somebody who is there a new token; the old one is no good any more.
    """

    def act() -> int:
        for each in (name, *(group or [])):
            if not NAME.fullmatch(each):
                raise InvalidActionError.fix(
                    f"`{each}` is no name", "1 to 128 ASCII letters, digits and `. _ @ + : / -`, the first no sign"
                )
        token = new_token(name)
        place = data_directory(data)
        with changing(place) as known:
            there = known.approvers.get(name)
            if there is not None and not replace:
                raise InvalidConfigurationError.fix(
                    f"`{name}` is an approver already", "--replace, which gives them a new token"
                )
            groups = list(dict.fromkeys(group)) if group is not None else there.groups if there is not None else []
            known.approvers[name] = Approver(groups=groups, token_sha256=digest_of(token))
        if as_json:
            print_json({"name": name, "groups": groups, "token": token, "data": str(place)})
        else:
            print(token, flush=True)
        if data is None:
            print(_said(place), file=sys.stderr, flush=True)
        return ExitCode.DONE

    return reported(act, as_json=as_json)


def _said(place: Path) -> str:
    """Where a person was added whom nobody said where to add: only the server of that directory knows of them."""
    named = os.environ.get("CMDOP_ADDRESS")
    other = f", which need not be that of {named}" if named else ""
    return f"added in {place}, the default data directory{other}; name another server's by --data"


@app.command(name="list")
def list_approvers(*, data: Data = None, as_json: AsJson = False) -> int:
    """List who answers approvals."""

    def act() -> int:
        known = sorted(load_approvers(data_directory(data)).approvers.items())
        if as_json:
            print_json([{"name": name, "groups": approver.groups} for name, approver in known])
        else:
            lines = [f"{name}  {' '.join(approver.groups)}".rstrip() for name, approver in known]
            print("\n".join(lines or ["nobody is known, so everybody is believed to be who they say"]), flush=True)
        return ExitCode.DONE

    return reported(act, as_json=as_json)


@app.command(name="remove")
def remove_approver(name: str, /, *, data: Data = None, as_json: AsJson = False) -> int:
    """Remove a person: after `cmdop policy reload` their token is no good any more.

    A running server never forgets the last approver: when nobody is left, start it anew to believe everybody.

    Args:
        name: Who it is.
    """

    def act() -> int:
        with changing(data_directory(data)) as known:
            if known.approvers.pop(name, None) is None:
                raise InvalidConfigurationError.fix(f"`{name}` is no approver", "a name of `cmdop approvers list`")
        if as_json:
            print_json({"name": name, "removed": True})
        return ExitCode.DONE

    return reported(act, as_json=as_json)
