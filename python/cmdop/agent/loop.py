"""The run loop: model turn, calls, results, until an answer or a limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anyio

from cmdop import v1
from cmdop.agent.agent import Agent
from cmdop.agent.events import CallAnswered, CallHeld, RunEvent, RunFinished, TurnTaken
from cmdop.agent.model import (
    FunctionCall,
    FunctionResult,
    Item,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelText,
    UserText,
)
from cmdop.agent.offer import Offer
from cmdop.client import Client
from cmdop.document import call_document, error_document
from cmdop.errors import BY_REASON, CmdopError, MalformedCallError, RefusedError

Observer = Callable[[RunEvent], None]
"""Is told what happens in a run, as it happens."""


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
    reads them back.

    Args:
        agent: Who works.
        task: What for.
        client: An open client of the same agent: ``Client(agent=agent.name)``.
        hosts: Where it may act; the first is the default.
        observe: Is told each turn and call.

    Raises:
        ServiceError: The server cannot be reached.
        ModelError: The model cannot be asked. The run is recorded as failed.
    """
    if client.agent != agent.name:
        raise ValueError(
            f"the client acts as {client.agent!r}, not as {agent.name!r}; open Client(agent={agent.name!r})"
        )
    offered = [tool for tool in await client.tools.list() if tool.name in agent.tools]
    started = await client.runs.start(task, model=agent.model.name)
    loop = _Loop(agent, client, started, Offer(offered, hosts), observe or (lambda event: None))
    status, why = v1.RunStatus.RUN_STATUS_FAILED, "cancelled"
    try:
        status, why = await loop.work(task)
    except ModelError as error:
        why = str(error)
        raise
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            finished = await client.runs.finish(started.run_id, status, final_output=loop.output, why=why)
    loop.observe(RunFinished(finished))
    return RunResult(finished, loop.output, tuple(loop.calls))


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
        self._waited_s = 0.0
        self._to_mend: dict[str, int] = {}

    async def work(self, task: str) -> tuple[v1.RunStatus, str]:
        limits, began = self.agent.limits, anyio.current_time()
        self._items.append(UserText(task))
        for turn in range(1, limits.turns + 1):
            if anyio.current_time() - began - self._waited_s > limits.time_s:
                return v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {limits.time_s:g} s"
            response = await self._turn(turn)
            if not response.calls:
                self.output = response.text
                return v1.RunStatus.RUN_STATUS_FINISHED, ""
            for asked in response.calls:
                if self._proposed >= limits.calls:
                    return v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {limits.calls} calls"
                answer = await self._act(asked)
                self._items.append(FunctionResult(asked.id, json.dumps(answer, ensure_ascii=False)))
                if self._terminated():
                    return v1.RunStatus.RUN_STATUS_TERMINATED, "a person ended the run"
                if self._denials >= limits.denials_in_row:
                    return v1.RunStatus.RUN_STATUS_LIMITED, f"refused {self._denials} times in a row"
        return v1.RunStatus.RUN_STATUS_LIMITED, f"no answer within {limits.turns} turns"

    async def _turn(self, turn: int) -> ModelResponse:
        request = ModelRequest(self.agent.instructions, tuple(self._items), self.offer.functions)
        began = time.monotonic_ns()
        response = await self.agent.model.respond(request)
        new: list[dict[str, Any]] = [
            {"type": type(item).__name__} | asdict(item) for item in self._items[self._recorded :]
        ]
        if turn == 1:
            new.insert(0, {"type": "Instructions", "text": self.agent.instructions})
        recorded = v1.ModelTurn(
            run_id=self.run.run_id,
            turn=turn,
            model=self.agent.model.name,
            prompt_json=json.dumps(new, ensure_ascii=False),
            response_json=json.dumps(asdict(response), ensure_ascii=False),
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
            duration_ns=time.monotonic_ns() - began,
            model_call_ids=[call.id for call in response.calls],
        )
        await self.client.runs.record_turn(recorded)
        if response.text:
            self._items.append(ModelText(response.text))
        self._items.extend(response.calls)
        self._recorded = len(self._items)
        self.observe(TurnTaken(turn, response))
        return response

    async def _act(self, asked: FunctionCall) -> dict[str, Any]:
        """Proposes what the model asked for and says what became of it, as the model hears it."""
        self._proposed += 1
        action = self.offer.action(asked)
        proposal = v1.Proposal(
            action=action,
            actor=self.run.actor,
            author_attempt=1 + self._to_mend.get(action.tool, 0),
            model_call_id=asked.id,
        )
        try:
            call = await self.client.calls.submit(proposal)
            if call.state in (v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD):
                call = await self._wait_for_person(call)
        except (MalformedCallError, RefusedError) as error:
            if error.call_id:
                self.calls.append(await self.client.calls.get(error.call_id))
            self._note(action, error.proto)
            self.observe(CallAnswered(asked, action, None, error.proto))
            return {"error": error_document(error.proto)}
        except CmdopError as error:
            # The host or the server has a problem that mending the call does not solve.
            self._note(action, error.proto)
            self.observe(CallAnswered(asked, action, None, error.proto))
            return {"error": error_document(error.proto)}
        error = call.error if call.HasField("error") else None
        self.calls.append(call)
        self._note(action, error)
        self.observe(CallAnswered(asked, action, call, error))
        return _told(call)

    async def _wait_for_person(self, call: v1.Call) -> v1.Call:
        began = anyio.current_time()
        while call.state in (v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD):
            self.observe(CallHeld(call))
            call = await self.client.calls.settled(call.call_id, beyond_approval=call.approval.approval_id)
        self._waited_s += anyio.current_time() - began
        return call

    def _note(self, action: v1.Action, error: v1.Error | None) -> None:
        """Counts attempts at mending a call, and refusals in a row."""
        if error is None:
            self._denials = 0
            self._to_mend.pop(action.tool, None)
            return
        name = v1.Reason.Name(error.reason).removeprefix("REASON_")
        kind = BY_REASON.get(name, CmdopError)
        if issubclass(kind, RefusedError):
            self._denials += 1
        if issubclass(kind, MalformedCallError):
            self._to_mend[action.tool] = self._to_mend.get(action.tool, 0) + 1

    def _terminated(self) -> bool:
        last = self.calls[-1] if self.calls else v1.Call()
        return last.approval.decision.verdict == v1.ApprovalVerdict.APPROVAL_VERDICT_TERMINATE


def _told(call: v1.Call) -> dict[str, Any]:
    """What a model hears of a call: the facts, not who approved it under which policy."""
    document = call_document(call)
    kept = ("outcome", "result", "observed", "side_effects", "error")
    return {key: document[key] for key in kept if document.get(key)}
