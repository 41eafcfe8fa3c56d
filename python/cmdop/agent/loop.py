"""The run loop: model turn, calls, results, until an answer or a limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import anyio

from cmdop import v1
from cmdop.agent.agent import Agent
from cmdop.agent.events import CallAnswered, CallHeld, RunEvent, RunFinished, TurnTaken
from cmdop.agent.model import FunctionCall, FunctionResult, Item, ModelError, ModelRequest, ModelResponse, UserText
from cmdop.agent.offer import Offer
from cmdop.agent.told import told_of_call, told_of_error
from cmdop.client import Client
from cmdop.errors import (
    BY_REASON,
    BridgeClosedError,
    BridgeForkedError,
    CmdopError,
    DrainingError,
    LedgerCorruptError,
    MalformedCallError,
    RefusedError,
    StorageError,
    StorageFullError,
    UnreachableError,
    reason_name,
)

Observer = Callable[[RunEvent], None]
"""Is told what happens in a run, as it happens."""

CLOSING_S: Final = 10.0
"""How long a run that was cancelled or failed may take to stop its calls and to be recorded."""

AWAY_S: Final = 60.0
"""How long a server may be away while a call waits for a person."""

_HELD = frozenset({v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD})
_OPEN = (
    v1.CallState.CALL_STATE_PROPOSED,
    v1.CallState.CALL_STATE_HELD,
    v1.CallState.CALL_STATE_PERMITTED,
    v1.CallState.CALL_STATE_RUNNING,
    v1.CallState.CALL_STATE_PREVIEWED,
    v1.CallState.CALL_STATE_DIFF_HELD,
    v1.CallState.CALL_STATE_COMMITTING,
)

_HOPELESS = (
    UnreachableError,
    DrainingError,
    StorageError,
    StorageFullError,
    LedgerCorruptError,
    BridgeClosedError,
    BridgeForkedError,
)
"""Errors that end a run: no other call would fare better."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run."""

    run: v1.Run
    output: str
    """The model's final words; empty if a limit ended the run."""
    calls: tuple[v1.Call, ...]


async def run(
    agent: Agent,
    task: str,
    *,
    client: Client,
    hosts: Sequence[str] = ("local",),
    observe: Observer | None = None,
) -> RunResult:
    """Lets an agent work on a task until it answers or reaches a limit.

    Every call goes through the whole loop: a held one waits for its person, a refused one goes back
    to the model with its remedy. Turns and calls are recorded; `client.traces.get(result.run.run_id)`
    reads them back. A run that ends otherwise, cancelled included, is recorded as failed, and what it
    had begun is stopped: a held call is rejected, a running one killed.

    Args:
        agent: Who works.
        task: What for.
        client: An open client of the same agent: ``Client(agent=agent.name)``.
        hosts: Where it may act; the first is the default.
        observe: Is told each turn and call.

    Returns:
        What came of it. A limit, a person who ends the run and a model that refuses the task are no
        exceptions: `run.status` and `run.why` say so.

    Raises:
        ValueError: The agent and the client do not fit, or a tool of the agent is not registered.
        ServiceError: The server cannot be reached or takes no calls.
        ModelError: The model cannot be asked, or its answer is none. The run is recorded as failed.
    """
    if client.agent != agent.name:
        raise ValueError(
            f"the client acts as {client.agent!r}, not as {agent.name!r}; open Client(agent={agent.name!r})"
        )
    offer = Offer(await _tools(agent, client), hosts)
    started = await client.runs.start(task, model=agent.model.name)
    loop = _Loop(agent, client, started, offer, observe or (lambda event: None))
    try:
        status, why = await loop.work(task)
    except BaseException as error:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSING_S), suppress(CmdopError):
            # The tasks of the run's own client may have been cancelled together with the run.
            async with Client(client.address, user=client.user, agent=client.agent) as closing:
                await loop.close(closing, v1.RunStatus.RUN_STATUS_FAILED, _why(error))
        if isinstance(error, ModelError):
            error.run_id = started.run_id
        raise
    finished = await loop.close(client, status, why)
    loop.observe(RunFinished(finished))
    return RunResult(finished, loop.output, tuple(loop.calls))


async def _tools(agent: Agent, client: Client) -> list[v1.ToolContract]:
    registered = {tool.name: tool for tool in await client.tools.list()}
    missing = [name for name in agent.tools if name not in registered]
    if missing:
        raise ValueError(f"no tool is called {', '.join(missing)}; the server has {', '.join(sorted(registered))}")
    return [registered[name] for name in agent.tools]


def _why(error: BaseException) -> str:
    if isinstance(error, Exception):
        return str(error) or type(error).__name__
    return "cancelled"


class _Ended(Exception):
    """The run is over, wherever in it that was found out."""

    def __init__(self, status: v1.RunStatus, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class _Loop:
    def __init__(self, agent: Agent, client: Client, run: v1.Run, offer: Offer, observe: Observer) -> None:
        self.agent = agent
        self.client = client
        self.run = run
        self.offer = offer
        self.observe = observe
        self.output = ""
        self.calls: list[v1.Call] = []
        self._items: list[Item] = []
        self._recorded = 0
        self._proposed = 0
        self._denials = 0
        self._deadline = anyio.current_time() + agent.limits.time_s
        self._to_mend: dict[str, int] = {}

    async def work(self, task: str) -> tuple[v1.RunStatus, str]:
        self._items.append(UserText(task))
        try:
            for turn in range(1, self.agent.limits.turns + 1):
                response = await self._turn(turn)
                if response.refusal:
                    self.output = response.refusal
                    return v1.RunStatus.RUN_STATUS_FAILED, f"the model refused: {response.refusal}"
                if not response.calls:
                    self.output = response.text
                    return v1.RunStatus.RUN_STATUS_FINISHED, ""
                for asked in response.calls:
                    await self._answer(asked)
        except _Ended as ended:
            return ended.status, ended.why
        return v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {self.agent.limits.turns} turns"

    async def close(self, client: Client, status: v1.RunStatus, why: str) -> v1.Run:
        """Stops what still goes on, and records the end."""
        if status != v1.RunStatus.RUN_STATUS_FINISHED:
            for call in await client.calls.list(run=self.run.run_id, states=_OPEN):
                await client.calls.cancel(call.call_id, why="its run is over")
                with anyio.move_on_after(CLOSING_S / 2):
                    call = await client.calls.settled(call.call_id)
                self.calls.append(call)
        return await client.runs.finish(self.run.run_id, status, final_output=self.output, why=why)

    async def _turn(self, turn: int) -> ModelResponse:
        request = ModelRequest(self.agent.instructions, tuple(self._items), self.offer.functions)
        began = time.monotonic_ns()
        response: ModelResponse | None = None
        with anyio.CancelScope(deadline=self._deadline):
            response = await self.agent.model.respond(request)
        if response is None:
            raise self._out_of_time()
        prompt = [_entry(item) for item in self._items[self._recorded :]]
        if turn == 1:
            prompt.insert(0, {"type": "Instructions", "text": self.agent.instructions})
        recorded = v1.ModelTurn(
            run_id=self.run.run_id,
            turn=turn,
            model=self.agent.model.name,
            prompt_json=_json(prompt),
            response_json=_json(asdict(response) | {"said": [_entry(item) for item in response.said]}),
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
            duration_ns=time.monotonic_ns() - began,
            model_call_ids=[call.id for call in response.calls],
        )
        await self.client.runs.record_turn(recorded)
        if not (response.text or response.calls or response.refusal):
            raise ModelError(f"{self.agent.model.name} answered with nothing")
        self._items.extend(response.items)
        self._recorded = len(self._items)
        self.observe(TurnTaken(turn, response))
        return response

    async def _answer(self, asked: FunctionCall) -> None:
        """Proposes what the model asked for, and lets it hear what became of it."""
        limits = self.agent.limits
        if self._proposed >= limits.calls:
            raise _Ended(v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {limits.calls} calls")
        self._proposed += 1
        action = self.offer.unread(asked)
        call: v1.Call | None = None
        try:
            action = self.offer.action(asked)
            call = await self._propose(action, asked)
            error, told = call.error if call.HasField("error") else None, told_of_call(call)
            self.calls.append(call)
        except _HOPELESS:
            raise
        except CmdopError as raised:
            error, told = raised.proto, told_of_error(raised.proto)
            if raised.call_id:
                self.calls.append(await self.client.calls.get(raised.call_id))
        self._note(action, error)
        self.observe(CallAnswered(asked, action, call, error))
        self._items.append(FunctionResult(asked.id, told))
        if error is not None and error.reason == v1.Reason.REASON_RUN_TERMINATED:
            raise _Ended(v1.RunStatus.RUN_STATUS_TERMINATED, "a person ended the run")
        if self._denials >= limits.denials_in_row:
            raise _Ended(v1.RunStatus.RUN_STATUS_LIMITED, f"refused {self._denials} times in a row")

    async def _propose(self, action: v1.Action, asked: FunctionCall) -> v1.Call:
        proposal = v1.Proposal(
            action=action,
            actor=self.run.actor,
            author_attempt=1 + self._to_mend.get(action.tool, 0),
            model_call_id=asked.id,
        )
        call: v1.Call | None = None
        with anyio.CancelScope(deadline=self._deadline):
            call = await self.client.calls.submit(proposal)
        if call is None:
            raise self._out_of_time()
        while call.state in _HELD or call.replaced_by:
            # What a person put in its place is what the model hears of.
            call = await self._wait_for_person(call) if call.state in _HELD else await self._instead(call)
        return call

    async def _instead(self, call: v1.Call) -> v1.Call:
        with anyio.CancelScope(deadline=self._deadline):
            return await self._decided(call.replaced_by, call.approval.approval_id)
        raise self._out_of_time()

    async def _wait_for_person(self, call: v1.Call) -> v1.Call:
        began = anyio.current_time()
        while call.state in _HELD:
            self.observe(CallHeld(call))
            call = await self._decided(call.call_id, call.approval.approval_id)
        self._deadline += anyio.current_time() - began
        return call

    async def _decided(self, call_id: str, approval_id: str) -> v1.Call:
        """The call after its approval, across restarts of the server: people take longer than those."""
        away_since: float | None = None
        while True:
            asked_at = anyio.current_time()
            try:
                return await self.client.calls.settled(call_id, beyond_approval=approval_id)
            except UnreachableError:
                now = anyio.current_time()
                # A question that was open for long found the server there.
                if away_since is None or now - asked_at > AWAY_S / 2:
                    away_since = now
                if now - away_since > AWAY_S:
                    raise
            await anyio.sleep(0.5)

    def _out_of_time(self) -> _Ended:
        return _Ended(v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {self.agent.limits.time_s:g} s")

    def _note(self, action: v1.Action, error: v1.Error | None) -> None:
        """Counts attempts at mending a call, and refusals in a row."""
        if error is None:
            self._denials = 0
            self._to_mend.pop(action.tool, None)
            return
        kind = BY_REASON.get(reason_name(error.reason), CmdopError)
        if issubclass(kind, RefusedError):
            self._denials += 1
        if issubclass(kind, MalformedCallError):
            self._to_mend[action.tool] = self._to_mend.get(action.tool, 0) + 1


def _entry(item: Item) -> dict[str, Any]:
    return {"type": type(item).__name__} | asdict(item)


def _json(value: Any) -> str:
    # Half a surrogate pair can stand in a text of Python, but not in one of a message.
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
