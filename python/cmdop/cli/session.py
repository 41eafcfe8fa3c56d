"""What commands that talk to a server share: the client, errors, and where output goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeAlias

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from cmdop import v1
from cmdop.cli.exit import ExitCode, code_of_error
from cmdop.client import Client
from cmdop.document import error_document
from cmdop.document.text import is_seen
from cmdop.errors import CmdopError, InvalidActionError

AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Server: TypeAlias = Annotated[
    str | None, Parameter(name="--server", help="Address of the server. [env: CMDOP_ADDRESS; default: 127.0.0.1:7717]")
]
Limit: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1, lte=1000))]
Blank: TypeAlias = Callable[[], dict[str, Any]]
Token: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--token",
        help="Shows who decides or proposes, where approvers are known. [env: CMDOP_TOKEN, which others do not see]",
    ),
]
User: TypeAlias = Annotated[str | None, Parameter(name="--user", help="Who acts. [default: your login name]")]


def with_client(
    act: Callable[[Client], Awaitable[int]],
    *,
    as_json: bool,
    server: str | None = None,
    user: str | None = None,
    agent: str | None = None,
    token: str | None = None,
    blank: Blank = dict,
) -> int:
    """Runs `act` with an open client on trio, prints a typed error, and returns the exit code."""

    async def inner() -> int:
        async with Client(server, user=user, agent=agent, token=token) as client:
            return await act(client)

    return reported(lambda: anyio.run(inner, backend="trio"), as_json=as_json, blank=blank)


def reported(act: Callable[[], int], *, as_json: bool, blank: Blank = dict) -> int:
    """Runs `act` and returns its exit code; a typed error is printed and gives its own.

    With `--json` the error stands in what `blank` gives, so that a command has one shape.
    """
    try:
        return act()
    except CmdopError as error:
        report_error(error, as_json=as_json, blank=blank)
        return code_of_error(error.proto)
    except BaseExceptionGroup as group:
        # Task groups wrap what a task of theirs raised, even a single error.
        error = _only_error(group)
        if error is None:
            raise
        report_error(error, as_json=as_json, blank=blank)
        return code_of_error(error.proto)


def _only_error(group: BaseExceptionGroup[BaseException]) -> CmdopError | None:
    if len(group.exceptions) != 1:
        return None
    match group.exceptions[0]:
        case BaseExceptionGroup() as inner:
            return _only_error(inner)
        case CmdopError() as error:
            return error
        case _:
            return None


def report_error(error: CmdopError, *, as_json: bool, blank: Blank = dict) -> None:
    """Prints an error: as JSON on standard output, for a person on standard error."""
    if as_json:
        print_json(blank() | {"error": error_document(error.proto)})
        return
    from cmdop.cli.output import error_console, error_view

    error_console().print(error_view(error.proto))


def print_json(document: Any) -> None:
    """One JSON document on standard output.

    What a terminal would obey or not show stands in it as JSON's escapes, and so does half a surrogate pair, and what
    the output's encoding has not.
    """
    text = json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    escaped = "".join(
        character if is_seen(character) and _is_encoded(character) else json.dumps(character)[1:-1]
        for character in text
    )
    sys.stdout.write(escaped + "\n")
    sys.stdout.flush()


def _is_encoded(character: str) -> bool:
    """Has standard output's encoding this character?"""
    try:
        character.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def say_abridged(listed: Sequence[v1.Call] | Sequence[v1.Approval], show: str) -> None:
    """Says on standard error of how many entries of a list something was cut, and which command shows all of one."""
    count = sum(bool(one.abridged) for one in listed)
    if count:
        print(f"{count} of these are abridged; `{show}` shows the whole of one", file=sys.stderr)


def usage_error(
    message: str, *, as_json: bool, expected: str = "a command line as `--help` shows it", blank: Blank = dict
) -> int:
    """Prints what is wrong with the command line."""
    report_error(InvalidActionError.fix(message, expected), as_json=as_json, blank=blank)
    return ExitCode.USAGE
