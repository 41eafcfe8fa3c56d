"""Who waits for a person, or speaks to an agent, from Python and at a terminal, on a real server."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from typing import Any

import anyio
import pytest
from rich.console import Console
from tests.live import Up, recorded

from cmdop import Client, v1
from cmdop.errors import InvalidActionError, UnknownApprovalError, UnknownRunError
from cmdop.trace import trace_tree

pytestmark = pytest.mark.timeout(180)

APPROVED = v1.ApprovalStatus.APPROVAL_STATUS_APPROVED
USED = v1.ApprovalStatus.APPROVAL_STATUS_USED
VOID = v1.ApprovalStatus.APPROVAL_STATUS_VOID
APPROVE = v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE
SUPERSEDED = v1.VoidCause.VOID_CAUSE_SUPERSEDED


async def held(client: Client, name: str) -> v1.Call:
    """A write of the client's agent that waits for a person."""
    arguments = {"path": f"/srv/app/{name}", "content": "x"}
    call = await client.calls.propose("files.write", "local", arguments, intent="to wait")
    assert call.error.reason == v1.Reason.REASON_APPROVAL_REQUIRED, call
    return call


@pytest.mark.anyio
async def test_whoever_waits_for_an_answer_gets_it_when_it_is_given_and_after(up: Up) -> None:
    got: list[v1.Approval] = []
    async with Client(up.address, user="ana", agent="waiter") as agent, Client(up.address, user="grace") as person:
        call = await held(agent, f"{uuid.uuid4().hex}.txt")
        approval_id = call.approval.approval_id
        watching = anyio.Event()

        async def wait() -> None:
            watching.set()
            got.append(await agent.approvals.decided(approval_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await watching.wait()
            await anyio.sleep(0.05)
            assert got == [], "nobody has decided yet"
            await person.approvals.decide(await person.approvals.get(approval_id), APPROVE, comment="fine")
        assert [(one.approval_id, one.decision.approver, one.decision.comment) for one in got] == [
            (approval_id, "grace", "fine")
        ]
        assert got[0].status in (APPROVED, USED)
        again = await agent.approvals.decided(approval_id)
        assert again.status in (APPROVED, USED), "it is known afterwards, too"
        with pytest.raises(UnknownApprovalError):
            await agent.approvals.decided("no-such-approval")


@pytest.mark.anyio
async def test_a_newer_instruction_voids_what_waits_of_that_run_alone(up: Up) -> None:
    async with Client(up.address, user="ana", agent="listener") as client:
        run = await client.runs.start("tidy up")
        other = await client.runs.start("something else")
        calls: dict[str, v1.Call] = {}
        for one in (run, other):
            async with Client(up.address, user="ana", agent="listener", run=one.run_id) as within:
                calls[one.run_id] = await held(within, f"{one.run_id}.txt")
        superseded = await client.runs.instruct("leave the files alone", run_id=run.run_id)
        assert [one.call_id for one in superseded] == [calls[run.run_id].call_id]
        assert (superseded[0].status, superseded[0].void_cause) == (VOID, SUPERSEDED)
        ended = await client.approvals.decided(calls[run.run_id].approval.approval_id)
        assert (ended.status, ended.void_cause) == (VOID, SUPERSEDED)
        async with client.calls.watch(calls[run.run_id].call_id) as updates:
            # It ends when the call does.
            _ = [update async for update in updates]
        call = await client.calls.get(calls[run.run_id].call_id)
        assert (call.outcome, call.error.reason) == (v1.Outcome.OUTCOME_NOT_APPLIED, v1.Reason.REASON_SUPERSEDED)
        assert not (up.fixture / f"srv/app/{run.run_id}.txt").exists()
        waiting = await client.approvals.get(calls[other.run_id].approval.approval_id)
        assert waiting.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING, "another run's question stands"
        await client.calls.cancel(calls[other.run_id].call_id)
        told = [event.instruction_given.text for event in recorded(up.data / "server" / "log")]
        assert "leave the files alone" in told
        shown = Console(width=200, record=True, file=io.StringIO())
        shown.print(trace_tree(await client.traces.get(run.run_id)))
        assert "ana said meanwhile: leave the files alone" in shown.export_text()
        with pytest.raises(UnknownRunError):
            await client.runs.instruct("stop", run_id="no-such-run")
        with pytest.raises(InvalidActionError):
            await client.runs.instruct("  ", run_id=run.run_id)
        with pytest.raises(InvalidActionError):
            await client.runs.instruct("stop")


def typed_at_a_terminal(up: Up, approval_id: str, name: str) -> tuple[int, str]:
    """Approves at a terminal of its own, types a name when asked, and says what was shown."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"CMDOP_ADDRESS": up.address, "CMDOP_USER": "grace", "TERM": "dumb", "COLUMNS": "200"}
    command = [sys.executable, "-m", "cmdop", "approvals", "approve", approval_id]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True)
    os.close(theirs)
    shown, is_typed, end = b"", False, time.monotonic() + 120
    with suppress(OSError):
        # Whoever held the other end is gone: that is the end of what was shown.
        while time.monotonic() < end and (piece := os.read(ours, 65_536)):
            shown += piece
            if not is_typed and b"Type its name" in shown:
                os.write(ours, f"{name}\n".encode())
                is_typed = True
    os.close(ours)
    assert is_typed, shown
    return process.wait(timeout=30), shown.decode()


def test_what_cannot_be_taken_back_is_asked_for_at_a_terminal(up: Up) -> None:
    action = ("--arg", "command=apt-get remove -y nginx", "--arg", "cwd=/srv/app", "--expect", "package.remove:nginx")
    code, call = up.call("call", "terminal.exec", "--host", "local", "--agent", "janitor", "--intent", "x", *action)
    assert code == 4, call
    code, shown = typed_at_a_terminal(up, call["approval_id"], "nginy")
    assert code == 2 and "CONFIRMATION_REQUIRED" in shown, shown
    assert "cannot be taken back: package.remove:nginx" in shown
    assert status(up, call) == "pending", "a wrong name answers nothing"
    _, shown = typed_at_a_terminal(up, call["approval_id"], "nginx")
    assert "CONFIRMATION_REQUIRED" not in shown
    assert status(up, call) in ("approved", "used")


def test_what_policy_refused_of_a_call_stands_in_its_error(up: Up) -> None:
    code, call = up.call(
        *("call", "terminal.exec", "--host", "local", "--agent", "janitor", "--intent", "x"),
        *("--arg", "command=rm -rf /logs", "--arg", "cwd=/srv/app", "--expect", "file.delete:/logs"),
    )
    assert code == 3, call
    assert call["error"]["refused"] == ["file.delete:/logs"]


def status(up: Up, call: dict[str, Any]) -> str:
    return str(up.call("approvals", "show", call["approval_id"])[1]["status"])
