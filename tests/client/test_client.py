"""The SDK against a real server and a real host, on both event loops."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import anyio
import pytest
from tests.live import Up

import cmdop
from cmdop import v1
from cmdop.client import result_of
from cmdop.errors import (
    ApprovalRejectedError,
    ApprovalRequiredError,
    BridgeClosedError,
    ContentChangedError,
    InvalidArgumentsError,
    KeyConflictError,
    PathNotFoundError,
    PolicyDeniedError,
    UnknownCallError,
    UnknownHostError,
    UnknownToolError,
    UnreachableError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

APPLIED = v1.Outcome.OUTCOME_APPLIED


@pytest.fixture
async def client(up: Up) -> AsyncIterator[cmdop.Client]:
    async with cmdop.Client(up.address, user="ana") as client:
        yield client


@pytest.fixture
async def agent(up: Up) -> AsyncIterator[cmdop.Client]:
    async with cmdop.Client(up.address, user="ana", agent="cleaner") as client:
        yield client


@pytest.fixture
def place() -> str:
    """A directory of this test's own in the workspace."""
    return f"/srv/app/{uuid.uuid4().hex[:8]}"


async def test_a_file_that_was_written_reads_back(client: cmdop.Client, place: str) -> None:
    files = client.host("local").files
    written = await files.write(f"/srv/app/{uuid.uuid4().hex}", "hello\n")
    assert written.outcome == APPLIED, written
    path = written.observation.effects[0].target
    assert result_of(await files.read(path))["content"] == "hello\n"


async def test_a_command_says_what_it_printed(client: cmdop.Client) -> None:
    call = await client.host("local").terminal.exec("cat cleanup.sh | head -1", cwd="/srv/app")
    assert result_of(call)["stdout"] == "#!/bin/bash\n"
    assert call.score.clean


async def test_the_same_key_runs_once(client: cmdop.Client) -> None:
    path, key = f"/srv/app/{uuid.uuid4().hex}", uuid.uuid4().hex
    files = client.host("local").files
    first = await files.write(path, "once", if_exists="fail", key=key)
    again = await files.write(path, "once", if_exists="fail", key=key)
    assert first.outcome == again.outcome == APPLIED
    assert again.call_id == first.call_id
    with pytest.raises(KeyConflictError):
        await files.write(path, "other", if_exists="fail", key=key)


async def test_an_agent_s_change_waits_for_a_person(agent: cmdop.Client, client: cmdop.Client) -> None:
    path = f"/srv/app/{uuid.uuid4().hex}"
    call = await agent.host("local").files.write(path, "asked")
    with pytest.raises(ApprovalRequiredError):
        cmdop.raise_for_outcome(call)
    approval = await client.approvals.get(call.approval.approval_id)
    assert [effect.target for effect in approval.diff.effects] == [path]
    await client.approvals.approve(approval, comment="fine")
    with anyio.fail_after(30):
        settled = await client.calls.settled(call.call_id)
    assert settled.outcome == APPLIED, settled


async def test_what_was_rejected_does_not_happen(agent: cmdop.Client, client: cmdop.Client) -> None:
    path = f"/srv/app/{uuid.uuid4().hex}"
    call = await agent.host("local").files.write(path, "asked")
    await client.approvals.reject(call.approval.approval_id, comment="no")
    with anyio.fail_after(30):
        settled = await client.calls.settled(call.call_id)
    with pytest.raises(ApprovalRejectedError):
        cmdop.raise_for_outcome(settled)
    listed = result_of(await client.host("local").files.list("/srv/app"))
    assert path not in {entry["path"] for entry in listed["entries"]}


async def test_pending_approvals_can_be_followed(agent: cmdop.Client, client: cmdop.Client) -> None:
    async with client.approvals.watch() as approvals, anyio.create_task_group() as tasks:
        tasks.start_soon(agent.host("local").files.write, f"/srv/app/{uuid.uuid4().hex}", "x")
        with anyio.fail_after(30):
            async for approval in approvals:
                if approval.requester.agent == "cleaner":
                    await client.approvals.reject(approval)
                    break


async def test_all_faults_of_a_call_come_at_once(client: cmdop.Client) -> None:
    with pytest.raises(InvalidArgumentsError) as caught:
        await client.calls.propose("terminal.exec", "local", {"command": 5, "timeout_s": "soon"})
    pointers = {violation.pointer for violation in caught.value.violations}
    assert {"/arguments/command", "/arguments/timeout_s"} <= pointers
    assert caught.value.remedy is not None and caught.value.remedy["kind"] == "fix_arguments"


async def test_what_does_not_exist_is_a_typed_error(client: cmdop.Client) -> None:
    with pytest.raises(UnknownToolError):
        await client.calls.propose("no.such", "local", {})
    with pytest.raises(UnknownHostError):
        await client.hosts.get("nowhere")
    with pytest.raises(UnknownCallError):
        await client.calls.get("none")


async def test_output_of_a_running_command_is_followed(client: cmdop.Client) -> None:
    key = uuid.uuid4().hex
    command = "for i in 1 2 3; do echo $i; done"
    call = await client.host("local").terminal.exec(command, cwd="/srv/app", key=key)
    assert result_of(call)["stdout"] == "1\n2\n3\n"
    async with client.calls.watch(call.call_id) as updates:
        states = [update.call.state async for update in updates if update.HasField("call")]
    assert states[-1] == v1.CallState.CALL_STATE_APPLIED


async def test_tools_and_hosts_describe_themselves(client: cmdop.Client) -> None:
    names = {tool.name for tool in await client.tools.list()}
    assert {"terminal.exec", "files.read", "files.list", "files.write", "files.delete"} <= names
    host = await client.hosts.get("local")
    assert host.attached and host.fixture
    assert [*host.workspaces] == ["/srv/app"]


async def test_a_run_is_recorded(agent: cmdop.Client) -> None:
    run = await agent.runs.start("free disk space", model="scripted")
    await agent.runs.record_turn(v1.ModelTurn(run_id=run.run_id, turn=1, model="scripted"))
    await agent.runs.finish(run.run_id, v1.RunStatus.RUN_STATUS_FINISHED, final_output="done")
    trace = await agent.traces.get(run.run_id)
    assert trace.run.final_output == "done"


async def test_twenty_calls_at_once_all_settle(client: cmdop.Client) -> None:
    outcomes: list[v1.Outcome] = []

    async def read() -> None:
        call = await client.host("local").files.read("/srv/app/logs/app.log")
        outcomes.append(call.outcome)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read)
    assert outcomes == [APPLIED] * 20


async def test_a_server_that_is_not_there_is_a_typed_error() -> None:
    with pytest.raises(UnreachableError):
        async with cmdop.Client("127.0.0.1:1"):
            pass


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(BridgeClosedError, match="async with"):
        await cmdop.Client().calls.list()


async def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMDOP_ADDRESS", "127.0.0.1:9")
    assert cmdop.Client().address == "127.0.0.1:9"
    assert cmdop.Client("127.0.0.1:8").address == "127.0.0.1:8"
    monkeypatch.delenv("CMDOP_ADDRESS")
    assert cmdop.Client().address == "127.0.0.1:7717"


async def test_files_are_described_found_edited_copied_and_moved(client: cmdop.Client, place: str) -> None:
    files = client.host("local").files
    assert result_of(await files.mkdir(f"{place}/deep", parents=1))["created"] == [place, f"{place}/deep"]
    path = f"{place}/deep/a.conf"
    first = result_of(await files.write(path, "port = 80\n"))
    edited = await files.edit(path, [{"old": "80", "new": "8080"}], expected_sha256=first["sha256"])
    assert result_of(edited)["replaced"] == 1, edited
    with pytest.raises(ContentChangedError, match="edit 0"):
        result_of(await files.edit(path, [{"old": "gone", "new": ""}]))
    size, digest = result_of(edited)["size"], result_of(edited)["sha256"]
    more = await files.write(path, "host = b\n", offset=size, expected_sha256=digest)
    assert result_of(more)["size"] == size + 9
    found = result_of(await files.search(place, glob="**/*.conf", pattern="^host"))
    assert found["matches"] == [{"path": path, "line": 2, "text": "host = b"}]
    assert result_of(await files.chmod(path, "0600"))["mode"] == "0600"
    assert result_of(await files.copy(f"{place}/deep", f"{place}/copy", recursive=True))["count"] == 2
    moved = await files.move(f"{place}/copy/a.conf", f"{place}/b.conf")
    assert moved.outcome == APPLIED and moved.score.clean, moved
    described = result_of(await files.stat(f"{place}/b.conf", digest=True))
    assert (described["mode"], described["sha256"]) == ("0600", result_of(more)["sha256"])


async def test_an_agent_moves_nothing_out_of_its_workspace(agent: cmdop.Client) -> None:
    with pytest.raises(PolicyDeniedError):
        cmdop.raise_for_outcome(await agent.host("local").files.move("/srv/app/cleanup.sh", "/opt/cleanup.sh"))


async def test_a_fixture_tells_of_its_own_processes_and_services_and_signals_none(client: cmdop.Client) -> None:
    host = client.host("local")
    processes = result_of(await host.processes.list(limit=10_000))["processes"]
    assert 1 not in {process["pid"] for process in processes}, "it is the machine's"
    with pytest.raises(PathNotFoundError, match="web"):
        result_of(await host.services.status("web"))
    with pytest.raises(UnknownToolError):
        result_of(await host.processes.signal(1, "init"))
