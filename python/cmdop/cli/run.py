"""`cmdop run`: an agent does a task, and every call of it is guarded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cmdop import v1
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import AsJson, Server, User, configuration_error, print_json, with_client
from cmdop.client import Client
from cmdop.document import call_document, run_document

if TYPE_CHECKING:
    from cmdop.agent import RunEvent

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
    as_json: AsJson = False,
    server: Server = None,
    user: User = None,
) -> int:
    """Let an agent do a task on the model of OPENAI_API_KEY, CMDOP_MODEL and OPENAI_BASE_URL.

    The exit code is 0 if it finished, 3 if a person ended it, 5 if a limit or a failure did.

    Args:
        task: What it is to do.
        agent: Its name: the autonomy level of that name applies.
        host: Where it may act; the first is the default. Repeat it for more. [default: local]
        instructions: What it is told besides the task.
        turns: At most this many exchanges with the model.
    """
    from cmdop.agent import Agent, Limits, ModelError
    from cmdop.agent import run as run_agent
    from cmdop.agent.openai import model_from_environment

    try:
        model = model_from_environment()
    except ModelError as error:
        return configuration_error(
            str(error), expected="OPENAI_API_KEY, CMDOP_MODEL and OPENAI_BASE_URL of a model", as_json=as_json
        )
    if model is None:
        return configuration_error(
            "no model is configured: OPENAI_API_KEY is not set",
            expected="OPENAI_API_KEY in the environment (any text for a server without keys), and CMDOP_MODEL and "
            "OPENAI_BASE_URL for another model or server",
            as_json=as_json,
        )
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
    from cmdop.cli.output import approval_view, call_view, console, error_view, shown

    out = console()
    match event:
        case TurnTaken(turn=turn, response=response):
            if response.text:
                out.print(shown(f"[{turn}] {response.text}", "italic"))
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
