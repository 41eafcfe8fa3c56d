"""An agent that only follows remedies gets repairable calls accepted, and stops at once where it cannot mend one."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

from cmdop import Client, v1
from cmdop.agent import Later, Stop, Wait, follow
from cmdop.errors import BY_REASON, CmdopError, reason_name
from cmdop.testing import Ended, MechanicalAgent
from cmdop.v1.error_pb2 import reason_spec

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
AT_ONCE = 8
"""Calls under way at the same time."""
LOOKS = """@id("looks") @reason("Looking changes nothing.")
permit (principal, action in Action::"look", resource);
"""
"""A policy that says nothing about changes."""
REACHED = 0.95
"""Share of the repairable calls that must be accepted."""

Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def mechanical() -> dict[str, bool]:
    """Of each reason, whether following its remedy may be enough, as the table says."""
    values = [value for value in v1.Reason.DESCRIPTOR.values if value.number]
    return {reason_name(it.number): it.GetOptions().Extensions[reason_spec].mechanical for it in values}


class Place:
    """A directory of the workspace for one call, as it is seen from outside of the fixture and from inside."""

    def __init__(self, fixture: Path, name: str) -> None:
        self.inside = f"/srv/app/{name}"
        self.outside = fixture / "srv/app" / name
        for directory in ("logs", "site/releases", "build"):
            (self.outside / directory).mkdir(parents=True)
        for file, text in {"a.txt": "hello\n", "b.txt": "b\n", "logs/old.log": "old\n", "build/index": "1"}.items():
            (self.outside / file).write_text(text)
        (self.outside / "link").symlink_to("a.txt")

    def call(self, row: Row) -> dict[str, Any] | str:
        """The call of a row, here."""
        text = json.dumps(row["call"]).replace("$D", self.inside).replace("$MB", "x" * (1 << 20))
        call = json.loads(text)
        if isinstance(call, str):
            return call
        call = {"host": "local", "intent": "a call of the corpus"} | call
        return {name: value for name, value in call.items() if name not in row.get("without", ())}


@asynccontextmanager
async def open_client(up: Up) -> AsyncIterator[Client]:
    async with Client(up.address, user="tester") as client:
        yield client


def told_once(client: Client, reason: str) -> Callable[[v1.Proposal], Any]:
    """Sends what is proposed, but answers the first time with an error that no test can bring about."""
    proto = BY_REASON[reason]("it is told once").proto
    if reason in ("PREVIEW_LOST", "APPROVAL_VOID"):
        proto.remedy.retry_after.new_key = True
    errors = [CmdopError.from_proto(proto)]

    async def propose(proposal: v1.Proposal) -> v1.Call:
        if errors:
            raise errors.pop()
        return await client.calls.submit(proposal)

    return propose


async def in_its_world(up: Up, client: Client, place: Place, row: Row) -> Ended:
    """Works on a call while the world does what the row says."""
    agent, call = MechanicalAgent(client), place.call(row)
    match row["world"]:
        case "told":
            return await MechanicalAgent(client, propose=told_once(client, row["reason"])).act(call)
        case "release":
            there = place.outside / "site/releases/v1"
            there.mkdir()
            (there / "index").write_text("another")
        case "lock":
            assert isinstance(call, dict)
            plan = {name: value for name, value in call["arguments"].items() if name != "digest"}
            planned = await client.calls.propose("deploy.plan", "local", plan)
            call["arguments"]["digest"] = json.loads(planned.result.result_json)["digest"]
            return await while_deployed(client, agent, call)
        case "read-only" | "looks" as policy:
            return await under(policy, up.data.parent, row)
        case "change":
            return await while_changed(place.outside / "a.txt", agent, call)
        case "kill":
            (host,) = await client.hosts.list()
            assert host.attached
            os.kill(host_process(up), signal.SIGKILL)
            await until_detached(client)
        case other:
            raise AssertionError(other)
    return await agent.act(call)


async def under(policy: str, directory: Path, row: Row) -> Ended:
    """Works on a call where another policy is in force."""
    place = directory / f"under-{uuid.uuid4().hex}"
    fixture = make_fixture(place / "fixture")
    if policy == "looks":
        (place / "looks.cedar").write_text(LOOKS)
        policy = str(place / "looks.cedar")
    other = start_up(place / "data", fixture, "--policy", policy)
    try:
        async with open_client(other) as client:
            return await MechanicalAgent(client).act(Place(other.fixture, "place").call(row))
    finally:
        other.stop()


async def until_detached(client: Client) -> None:
    with anyio.fail_after(10):
        while True:
            (host,) = await client.hosts.list()
            if not host.attached:
                return
            await anyio.sleep(0.01)


def host_process(up: Up) -> int:
    """The daemon of the host: the child of `cmdop up` that is told to be one."""
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    (host,) = [int(pid) for pid in children if b"cmdop.host" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return host


async def while_deployed(client: Client, agent: MechanicalAgent, call: dict[str, Any]) -> Ended:
    """Works on a deployment while another one of the same root waits for its health check."""
    slow = {"port": 1, "retries": 3, "interval_ms": 400}
    other = call["arguments"] | {"release": "other", "check_before": slow}
    ended: list[Ended] = []

    async def deploy() -> None:
        await client.calls.propose("deploy.release", "local", other)

    async with anyio.create_task_group() as group:
        group.start_soon(deploy)
        await anyio.sleep(0.6)
        ended.append(await agent.act(call))
    return ended[0]


async def while_changed(file: Path, agent: MechanicalAgent, call: dict[str, Any] | str) -> Ended:
    ended: list[Ended] = []

    async def work() -> None:
        ended.append(await agent.act(call))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await anyio.sleep(1)
        file.write_text("somebody else's\n")
    return ended[0]


async def work_on(up: Up, corpus: list[Row], prefix: str) -> list[tuple[Row, Ended]]:
    """What came of each row; those that share a world with no other go first, side by side."""
    done: list[tuple[Row, Ended]] = []
    async with open_client(up) as client:
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def one(row: Row, place: Place) -> None:
            async with limiter:
                done.append((row, await MechanicalAgent(client).act(place.call(row))))

        placed = [(row, Place(up.fixture, f"{prefix}-{index}")) for index, row in enumerate(corpus)]
        async with anyio.create_task_group() as group:
            for row, place in placed:
                if "world" not in row:
                    group.start_soon(one, row, place)
        for row, place in placed:
            if "world" in row:
                done.append((row, await in_its_world(up, client, place, row)))
    return done


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_following_remedies_alone_gets_repairable_calls_accepted(fresh_up: Up, anyio_backend: str) -> None:
    corpus = rows("repairable.jsonl")
    assert len(corpus) >= 200
    done = await work_on(fresh_up, corpus, "repairable")
    reasons = {reason for reason, is_mechanical in mechanical().items() if is_mechanical}
    assert {row["reason"] for row in corpus} == reasons
    # Each is bad in the way that it stands for.
    first = [(row, reason_name(ended.errors[0].reason) if ended.errors else "none", ended) for row, ended in done]
    wrong = [(row, [error.message for error in ended.errors]) for row, said, ended in first if said != row["reason"]]
    assert not wrong, "\n".join(map(str, wrong))
    accepted = [row for row, ended in done if ended.accepted]
    failed = [(row, ended) for row, ended in done if not ended.accepted]
    counts = Counter(ended.attempts for _, ended in done if ended.accepted)
    print(f"{len(accepted)} of {len(done)} accepted, by attempts {dict(sorted(counts.items()))}")
    for row, ended in failed:
        print(row["reason"], json.dumps(row["call"])[:200], ended.step, [error.message for error in ended.errors])
    assert len(accepted) >= REACHED * len(done)
    # No reason hides behind the others.
    assert reasons == {row["reason"] for row in accepted}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_no_machine_can_mend_stops_it_at_once(up: Up, anyio_backend: str) -> None:
    for row, ended in await work_on(up, rows("irreparable.jsonl"), "irreparable"):
        said = [error.message for error in ended.errors]
        assert [reason_name(error.reason) for error in ended.errors] == [row["reason"]], (row, said)
        assert isinstance(ended.step, Stop | Wait) and not ended.accepted, (row, ended)


def test_the_table_s_own_remedy_stops_a_machine_where_the_table_says_so() -> None:
    call = {"tool": "files.read", "host": "local", "intent": "x", "arguments": {"path": "/a"}}
    for reason, is_mechanical in mechanical().items():
        step = follow(call, BY_REASON[reason]("?").proto)
        assert is_mechanical or not isinstance(step, Later), reason
        assert call == {"tool": "files.read", "host": "local", "intent": "x", "arguments": {"path": "/a"}}
