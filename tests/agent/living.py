"""Agents on a real server: a run of a script, people who decide, and what a model was told."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from tests.live import Up

from cmdop import Client, v1
from cmdop.agent import Agent, FunctionResult, Item, Limits, Model, Observer, RunResult, run
from cmdop.testing import Ask, ScriptedModel

APPROVE = v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE
REJECT = v1.ApprovalVerdict.APPROVAL_VERDICT_REJECT
TERMINATE = v1.ApprovalVerdict.APPROVAL_VERDICT_TERMINATE


@dataclass
class Place:
    """A directory of the workspace, and an agent, that one test has for itself."""

    up: Up
    name: str

    @property
    def path(self) -> str:
        """Where the host sees it."""
        return f"/srv/app/{self.name}"

    @property
    def disk(self) -> Path:
        """Where it lies in truth."""
        return self.up.fixture / "srv" / "app" / self.name

    def files(self) -> list[str]:
        """What is there, asked of no one."""
        return sorted(path.name for path in self.disk.iterdir())

    def exec(self, command: str, *deletes: str, **arguments: Any) -> Ask:
        """A command in it that says what it deletes."""
        expect = [{"kind": "file.delete", "target": target} for target in deletes]
        return ask("terminal_exec", expect=expect, command=command, cwd=self.path, **arguments)


def make_place(up: Up) -> Place:
    place = Place(up, f"p{uuid.uuid4().hex[:8]}")
    place.disk.mkdir(mode=0o755)
    for name in ("a.log", "b.log", "keep.db"):
        (place.disk / name).write_text(name)
    return place


def ask(function: str, *, intent: str = "see what is there", expect: Iterable[Any] = (), **arguments: Any) -> Ask:
    """A call as a model makes it."""
    return Ask(function, {"intent": intent, "expect": list(expect), **arguments})


async def work(
    place: Place,
    model: Model,
    *,
    task: str = "Free disk space.",
    limits: Limits | None = None,
    tools: Sequence[str] = ("terminal.exec", "files.read", "files.list", "files.write", "files.delete"),
    hosts: Sequence[str] = ("local",),
    observe: Observer | None = None,
) -> RunResult:
    """A run of the place's agent."""
    agent = Agent(place.name, "Be careful.", model, tools=tools, limits=limits or Limits())
    async with Client(place.up.address, user="ana", agent=place.name) as client:
        return await run(agent, task, client=client, hosts=hosts, observe=observe)


@asynccontextmanager
async def person(place: Place, verdict: v1.ApprovalVerdict, *, after_s: float = 0) -> AsyncIterator[list[v1.Approval]]:
    """Decides whatever the place's agent waits for, through a client of their own."""
    decided: list[v1.Approval] = []

    async def decide() -> None:
        async with Client(place.up.address, user="operator") as client, client.approvals.watch() as approvals:
            async for approval in approvals:
                pending = approval.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING
                if pending and approval.requester.agent == place.name:
                    await anyio.sleep(after_s)
                    decided.append(approval)
                    await client.approvals.decide(approval, verdict, comment="seen")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(decide)
        yield decided
        tasks.cancel_scope.cancel()


def told(model: ScriptedModel) -> list[dict[str, Any]]:
    """What the model had been told of its calls when it was asked last."""
    return told_in(model.seen[-1].items)


def told_in(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [json.loads(item.output) for item in items if isinstance(item, FunctionResult)]


async def events_of(up: Up, id: str) -> list[dict[str, Any]]:
    """Everything recorded about a run or a call."""
    from cmdop.trace import trace_document

    async with Client(up.address) as client:
        events: list[dict[str, Any]] = trace_document(await client.traces.get(id))["events"]
        return events
