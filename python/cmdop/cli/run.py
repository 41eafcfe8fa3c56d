"""`cmdop run`: an agent does a task, and every call of it is guarded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, User, print_json, report_error, with_client
from cmdop.client import Client
from cmdop.document import call_document, run_document
from cmdop.errors import CmdopError, InvalidConfigurationError, MalformedJsonError

if TYPE_CHECKING:
    from cmdop.agent import Model, RunEvent

INSTRUCTIONS = """\
You operate machines through guarded tools. State in `expect` every change that a call will have, as narrowly as you \
can. Look before you change anything. When a call is refused, its error has a remedy: follow it, or stop and say why \
you cannot. Never try to reach by another way what was denied. When the task is done, say in one short paragraph what \
you did."""


def run(
    task: str,
    /,
    *,
    agent: str = "agent",
    host: Annotated[list[str] | None, Parameter(negative="")] = None,
    instructions: str = INSTRUCTIONS,
    turns: Annotated[int, Parameter(validator=Number(gte=1))] = 30,
    script: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
) -> int:
    """Let an agent do a task on the model of OPENAI_API_KEY, CMDOP_MODEL and OPENAI_BASE_URL, or by a script.

    The exit code is 0 if it finished, 3 if a person ended it, 5 if a limit or a failure did.

    Args:
        task: What it is to do.
        agent: Its name: the autonomy level of that name applies.
        host: Where it may act; the first is the default. Repeat it for more. [default: local]
        instructions: What it is told besides the task.
        turns: At most this many exchanges with the model.
        script: Instead of a model, a file with its turns, one JSON value a line; `-` is standard input. A turn is
            {"tool": "files.list", "intent": "look", "arguments": {"path": "/srv/app"}}, with
            "expect": ["file.delete:/srv/app/a.log"] for what it changes, or {"say": "Done."}.
    """
    from cmdop.agent import Agent, Limits, ModelError
    from cmdop.agent import run as run_agent

    try:
        model = _scripted(script) if script is not None else _configured()
    except CmdopError as error:
        report_error(error, as_json=as_json)
        return ExitCode.USAGE
    worker = Agent(name=agent, instructions=instructions, model=model, limits=Limits(turns=turns))

    async def act(client: Client) -> int:
        observe = _ignore if as_json else _show
        try:
            result = await run_agent(worker, task, client=client, hosts=tuple(host or ("local",)), observe=observe)
        except ModelError as error:
            print(f"cmdop: the model cannot be asked: {error}", file=sys.stderr)
            if as_json:
                calls = await client.calls.list(run=error.run_id)
                _print_run(await client.runs.get(error.run_id), calls[::-1])
            return ExitCode.FAILED
        if as_json:
            _print_run(result.run, result.calls)
        return _STATUS_CODES.get(result.run.status, ExitCode.FAILED)

    return with_client(act, as_json=as_json, server=server, user=user, agent=agent)


def _configured() -> Model:
    """The model of the environment."""
    from cmdop.agent import ModelError
    from cmdop.agent.openai import model_from_environment

    try:
        model = model_from_environment()
    except ModelError as error:
        expected = "OPENAI_API_KEY, CMDOP_MODEL and OPENAI_BASE_URL of a model"
        raise InvalidConfigurationError.fix(str(error), expected) from None
    if model is None:
        raise InvalidConfigurationError.fix(
            "no model is configured: OPENAI_API_KEY is not set",
            "OPENAI_API_KEY in the environment (any text for a server without keys), and CMDOP_MODEL and "
            "OPENAI_BASE_URL for another model or server; without a model, --script FILE with the turns of one",
        )
    return model


def _scripted(script: str) -> Model:
    """A model that follows a script."""
    from cmdop.testing import ScriptedModel, read_script
    from cmdop.testing.script import SHAPE

    name = "standard input" if script == "-" else script
    try:
        text = (sys.stdin.buffer.read() if script == "-" else Path(script).read_bytes()).decode()
    except OSError as error:
        raise MalformedJsonError.fix(f"{name} cannot be read: {error.strerror}", SHAPE) from None
    except UnicodeDecodeError as error:
        raise MalformedJsonError.fix(f"{name} is no UTF-8 text at byte {error.start}", SHAPE) from None
    return ScriptedModel(read_script(name, text))


def _print_run(finished: v1.Run, calls: Sequence[v1.Call]) -> None:
    print_json(run_document(finished) | {"calls": [call_document(call) for call in calls]})


_STATUS_CODES = {
    v1.RunStatus.RUN_STATUS_FINISHED: ExitCode.DONE,
    v1.RunStatus.RUN_STATUS_TERMINATED: ExitCode.DENIED,
}


def _ignore(_: RunEvent) -> None:
    """With --json there is one document, at the end."""


def _show(event: RunEvent) -> None:
    """Prints what happens in a run, as it happens."""
    from cmdop.agent import CallAnswered, CallHeld, RunFinished, TurnTaken
    from cmdop.cli.output import approval_view, block, call_view, console, error_view, shown

    out = console()
    match event:
        case TurnTaken(turn=turn, response=response):
            if response.text:
                out.print(block(f"[{turn}] {response.text}", "italic"))
        case CallHeld(call=call):
            out.print(approval_view(call.approval))
        case CallAnswered(call=v1.Call() as call):
            out.print(call_view(call))
        case CallAnswered(error=v1.Error() as error):
            out.print(error_view(error))
        case RunFinished(run=finished):
            out.print(shown(f"run {finished.run_id}: {finished.why or 'finished'}", "bold"))
        case _:
            pass
