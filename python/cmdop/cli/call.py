"""`cmdop call`: one guarded call."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cmdop import v1
from cmdop.cli.exit import code_of_call
from cmdop.cli.session import AsJson, Server, Token, User, print_json, reported, usage_error, with_client
from cmdop.client import Client
from cmdop.client.client import environment_user
from cmdop.document import action_from_document, call_document, error_document, expected_effect, parse_expect
from cmdop.document.read import pointer_token, proposal_from_document
from cmdop.errors import (
    CmdopError,
    InvalidArgumentsError,
    KeyConflictError,
    MalformedCallError,
    MalformedJsonError,
    OutcomeUnknownError,
)

_EMPTY_KEY = "an empty --key holds nobody from running the call twice; name one, or leave the option out"


def call(
    tool: str | None = None,
    /,
    *,
    host: str | None = None,
    arg: Annotated[list[str] | None, Parameter(name="--arg", negative="")] = None,
    expect: Annotated[list[str] | None, Parameter(name="--expect", negative="")] = None,
    intent: str = "",
    key: str | None = None,
    agent: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from", allow_leading_hyphen=True)] = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Send one guarded call, and wait until it is settled or held.

    Args:
        tool: Name of a tool, such as terminal.exec; see `cmdop tools`.
        host: Name of a host; see `cmdop hosts`.
        arg: An argument of the tool, as NAME=VALUE. The tool's schema says what type VALUE has.
        expect: A change or contact that the call will have, as KIND:TARGET.
        intent: Why; shown to whoever approves it. An agent (--agent) must say it, a person need not.
        key: Idempotency key: the same key runs at most once.
        agent: Act as this agent: its autonomy level applies.
        from_: Read the call from a JSON file; `-` is standard input.
        wait: Wait for a person's decision, too.
    """
    blank = partial(_blank, user=user, agent=agent)

    def prepared() -> int:
        if key == "":
            return usage_error(_EMPTY_KEY, as_json=as_json, blank=blank)
        proposal = None if from_ is None else _read(from_)
        if proposal is None and (tool is None or host is None):
            return usage_error(
                "name a TOOL and a --host, or read the call with --from FILE", as_json=as_json, blank=blank
            )
        if proposal is not None and (tool or arg or expect):
            return usage_error(
                "a call comes from --from or from TOOL, --arg and --expect, not from both",
                as_json=as_json,
                blank=blank,
            )

        async def act(client: Client) -> int:
            ready = proposal or await _from_flags(client, tool or "", arg or [], expect or [])
            if not ready.HasField("actor"):
                ready.actor.CopyFrom(v1.Actor(user=client.user, agent=client.agent))
            ready.action.host = host or ready.action.host
            ready.action.intent = intent or ready.action.intent or _default_intent(ready, client.user, agent)
            # Minted here, so that a call whose answer is lost can be asked about.
            ready.idempotency_key = key or ready.idempotency_key or f"cli-{uuid.uuid4().hex}"
            return await _send(client, ready, wait=wait, as_json=as_json)

        return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token, blank=blank)

    return reported(prepared, as_json=as_json, blank=blank)


def undo(
    call_id: str,
    /,
    *,
    intent: str = "",
    key: str | None = None,
    agent: str | None = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
    token: Token = None,
) -> int:
    """Take back what a call changed on files, by a guarded call of its own.

    Args:
        call_id: The call to take back; see `cmdop calls list`.
        intent: Why; shown to whoever approves it.
        key: Idempotency key: the same key runs at most once.
        agent: Act as this agent: its autonomy level applies.
        wait: Wait for a person's decision, too.
    """
    if key == "":
        return usage_error(_EMPTY_KEY, as_json=as_json)

    async def act(client: Client) -> int:
        settled = await client.calls.undo(call_id, intent=intent, key=key, wait=wait)
        return _shown(settled, as_json=as_json)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent, token=token)


async def _send(client: Client, proposal: v1.Proposal, *, wait: bool, as_json: bool) -> int:
    try:
        settled = await client.calls.submit(proposal, wait=wait)
    except CmdopError as error:
        if not as_json:
            raise
        # The same shape as any other call, so that a script reads one, and with the key by which it may try again.
        print_json(await _refused(client, proposal, error))
        from cmdop.cli.exit import code_of_error

        return code_of_error(error.proto)
    return _shown(settled, as_json=as_json)


def _shown(settled: v1.Call, *, as_json: bool) -> int:
    if as_json:
        print_json(call_document(settled))
    else:
        from cmdop.cli.output import call_view, console

        console().print(call_view(settled))
    return code_of_call(settled)


async def _refused(client: Client, proposal: v1.Proposal, error: CmdopError) -> dict[str, Any]:
    # A key conflict names the call that has the key, which is another action.
    if error.call_id and not isinstance(error, KeyConflictError):
        with suppress(CmdopError):
            return call_document(await client.calls.get(error.call_id))
    unknown = "unknown" if isinstance(error, OutcomeUnknownError) else None
    told = {"call_id": None, "outcome": unknown, "error": error_document(error.proto)}
    return call_document(v1.Call(proposal=proposal)) | told


def _blank(*, user: str | None, agent: str | None) -> dict[str, Any]:
    """What `--json` prints of a call that never was; who would have called is known."""
    actor = v1.Actor(user=user or environment_user(), agent=agent)
    return call_document(v1.Call(proposal=v1.Proposal(actor=actor))) | {"call_id": None}


def _default_intent(proposal: v1.Proposal, user: str, agent: str | None) -> str:
    """A person need not say why; an agent must."""
    return "" if agent or not proposal.action.tool else f"{proposal.action.tool}, called by {user}"


def _read(source: str) -> v1.Proposal:
    from cmdop._bridge import check_json

    name = "standard input" if source == "-" else source
    try:
        text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise _malformed(f"{name} cannot be read: {error.strerror}", "a file with the JSON of one call, or -") from None
    check_json(name, text)
    return proposal_from_document(json.loads(text))


def _malformed(message: str, expected: str) -> MalformedJsonError:
    return MalformedJsonError.fix(message, expected)


async def modified(client: Client, action: v1.Action, args: Sequence[str], expect: Sequence[str]) -> v1.Action:
    """An action with some arguments as `NAME=VALUE`, and other effects if any are given."""
    changed = v1.Action()
    changed.CopyFrom(action)
    changed.arguments_json = _dumped(json.loads(action.arguments_json) | await _read_args(client, action.tool, args))
    if expect:
        del changed.expect[:]
        changed.expect.extend(expected_effect(parse_expect(text)) for text in expect)
    return changed


def _dumped(arguments: dict[str, Any]) -> str:
    return action_from_document({"arguments": arguments}).arguments_json


async def _from_flags(client: Client, tool: str, args: Sequence[str], expect: Sequence[str]) -> v1.Proposal:
    arguments = await _read_args(client, tool, args)
    action = action_from_document({"tool": tool, "arguments": arguments})
    action.expect.extend(expected_effect(parse_expect(text)) for text in expect)
    return v1.Proposal(action=action)


async def _read_args(client: Client, tool: str, args: Sequence[str]) -> dict[str, Any]:
    types = await _argument_types(client, tool)
    arguments: dict[str, Any] = {}
    for pair in args:
        name, separator, text = pair.partition("=")
        if not separator:
            raise _malformed(f"--arg {pair} is not NAME=VALUE", "NAME=VALUE")
        if name in arguments:
            # Which of them was meant nobody knows.
            message = f"the argument `{name}` is given twice: --arg {pair}"
            raise InvalidArgumentsError.fix(message, "each argument once", path=f"/arguments/{pointer_token(name)}")
        arguments[name] = typed(text, types.get(name))
    return arguments


async def _argument_types(client: Client, tool: str) -> dict[str, Any]:
    """What each argument's schema says about its `type`."""
    try:
        contract = await client.tools.describe(tool)
    except MalformedCallError:
        # The call itself will be answered with that, and with what else is wrong.
        return {}
    properties: dict[str, Any] = json.loads(contract.arguments_schema).get("properties", {})
    return {name: schema["type"] for name, schema in properties.items() if "type" in schema}


def typed(text: str, kind: str | list[str] | None) -> Any:
    """The value that a text on the command line stands for, by its schema's `type`.

    Texts stay texts. What should be JSON and is not stays a text, too: the server says what it expected.
    """
    kinds = [kind] if isinstance(kind, str) else kind or ["string"]
    if "string" in kinds:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
