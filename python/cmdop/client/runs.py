"""Runs of agents, and traces of runs and calls."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.calls import PAGE
from cmdop.client.connection import Connection


class Runs:
    """`client.runs`. An agent's loop records what it does here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self, task: str, *, model: str = "") -> v1.Run:
        """Begins a run of the client's agent; from the client's own run, if it has one.

        Raises:
            UnknownRunError: The client's run is none.
            InvalidActionError: It is over, another user's, or already begun from too many others.
        """
        request = v1.StartRunRequest(actor=self._connection.actor, task=task, model=model)
        return await self._connection.unary("Runs/Start", request, v1.Run)

    async def record_turn(self, turn: v1.ModelTurn) -> None:
        """Records one exchange with the model. Returns once it is durable."""
        await self._connection.unary("Runs/RecordTurn", v1.RecordTurnRequest(turn=turn), v1.RecordTurnResponse)

    async def finish(self, run_id: str, status: v1.RunStatus, *, final_output: str = "", why: str = "") -> v1.Run:
        """Ends a run."""
        request = v1.FinishRunRequest(run_id=run_id, status=status, final_output=final_output, why=why)
        return await self._connection.unary("Runs/Finish", request, v1.Run)

    async def instruct(self, text: str, *, run_id: str = "", session: str = "") -> list[v1.Approval]:
        """Records what the user says to the agent of a run or a session that goes on.

        What it proposed before and waits for a person is void: the newer word counts.

        Returns:
            The approvals that are void now.
        """
        actor = v1.Actor()
        actor.CopyFrom(self._connection.actor)
        actor.run, actor.session = run_id, session or ("" if run_id else actor.session)
        answer = await self._connection.unary(
            "Runs/Instruct", v1.InstructRequest(actor=actor, text=text), v1.InstructResponse
        )
        return [*answer.superseded]

    async def get(self, run_id: str) -> v1.Run:
        """One run.

        Raises:
            UnknownRunError: There is none of that id.
        """
        return await self._connection.unary("Runs/Get", v1.GetRunRequest(run_id=run_id), v1.Run)

    async def list(self, *, limit: int = 100, before: str = "") -> list[v1.Run]:
        """Runs, newest first; `before` is the id of the last one of those that are known already.

        Each is abridged to 16 KiB: its `abridged` says where, and `get` has the whole.
        """
        found: list[v1.Run] = []
        request = v1.ListRunsRequest(before_run_id=before)
        while len(found) < limit:
            request.limit = min(limit - len(found), PAGE)
            answer = await self._connection.unary("Runs/List", request, v1.ListRunsResponse)
            found += answer.runs
            request.before_run_id = answer.next_before_run_id
            if not request.before_run_id:
                break
        return found


class Traces:
    """`client.traces`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, id: str) -> v1.Trace:
        """Everything recorded about a call or a run, in the order in which it became durable.

        What is larger than the client takes is abridged: `abridged` says where.

        Raises:
            UnknownCallError: There is neither a call nor a run of that id.
        """
        return await self._connection.unary("Traces/Get", v1.GetTraceRequest(id=id), v1.Trace)
