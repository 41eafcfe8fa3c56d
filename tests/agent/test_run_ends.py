"""How a run ends: limits, people, models that fail, servers and hosts that go; on both event loops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from tests.agent.living import APPROVE, TERMINATE, Place, ask, events_of, make_place, person, told, work
from tests.live import Up, make_fixture

from cmdop import Client, v1
from cmdop.agent import CallHeld, Limits, ModelError, ModelRequest, ModelResponse, OnText, RunEvent, RunResult
from cmdop.errors import UnreachableError
from cmdop.testing import Say, ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

LIMITED = v1.RunStatus.RUN_STATUS_LIMITED
FAILED = v1.RunStatus.RUN_STATUS_FAILED
NOT_APPLIED = v1.Outcome.OUTCOME_NOT_APPLIED


@pytest.fixture
def place(up: Up) -> Place:
    return make_place(up)


@dataclass
class Answers:
    """A model with one answer for everything; without one it never answers."""

    response: ModelResponse | None = None
    name: str = "answers"

    async def respond(self, request: ModelRequest, on_text: OnText | None = None) -> ModelResponse:
        if self.response is None:
            await anyio.sleep_forever()
        return self.response


async def newest_run(place: Place) -> v1.Run:
    async with Client(place.up.address) as client:
        return next(run for run in await client.runs.list() if run.actor.agent == place.name)


async def test_turns_are_limited(place: Place) -> None:
    model = ScriptedModel(ask("files_read", path=f"{place.path}/a.log") for _ in range(9))
    done = await work(place, model, limits=Limits(turns=3))
    assert (done.run.status, done.run.why, done.output) == (LIMITED, "no answer within 3 turns", "")
    assert (len(model.seen), len(done.calls), done.run.turns) == (3, 3, 3)


async def test_calls_are_limited_within_a_turn_too(place: Place) -> None:
    model = ScriptedModel([[ask("files_read", path=f"{place.path}/a.log") for _ in range(9)]])
    done = await work(place, model, limits=Limits(calls=2))
    assert (done.run.status, done.run.why) == (LIMITED, "no answer within 2 calls")
    assert len(done.calls) == 2


async def test_refusals_in_a_row_are_limited_and_a_success_ends_the_row(place: Place) -> None:
    denied, fine = place.exec("rm -rf /logs", "/logs"), ask("files_read", path=f"{place.path}/a.log")
    model = ScriptedModel([denied, denied, fine, [denied, denied, denied, fine], Say("Never said.")])
    done = await work(place, model, limits=Limits(denials_in_row=3))
    assert (done.run.status, done.run.why) == (LIMITED, "refused 3 times in a row")
    assert len(done.calls) == 6
    assert (place.up.fixture / "logs" / "system.log").exists()


async def test_a_model_that_never_answers_is_limited_in_time(place: Place) -> None:
    with anyio.fail_after(20):
        done = await work(place, Answers(), limits=Limits(time_s=0.2))
    assert (done.run.status, done.run.why) == (LIMITED, "no answer within 0.2 s")


async def test_a_call_that_outlives_the_run_s_time_is_killed(place: Place) -> None:
    model = ScriptedModel([place.exec("rm a.log; sleep 60", "a.log"), Say("Never said.")])
    with anyio.fail_after(20):
        done = await work(place, model, limits=Limits(time_s=1))
    assert (done.run.status, done.run.why) == (LIMITED, "no answer within 1 s")
    assert [(call.outcome, v1.Reason.Name(call.error.reason)) for call in done.calls] == [
        (NOT_APPLIED, "REASON_CANCELLED")
    ]
    assert "a.log" in place.files()


async def test_the_wait_for_a_person_is_not_counted(place: Place) -> None:
    model = ScriptedModel([place.exec("rm a.log", "a.log"), Say("Deleted.")])
    async with person(place, APPROVE, after_s=3.2):
        done = await work(place, model, limits=Limits(time_s=3))
    assert (done.run.status, done.output) == (v1.RunStatus.RUN_STATUS_FINISHED, "Deleted.")
    assert "a.log" not in place.files()


async def test_a_person_can_end_the_run(place: Place) -> None:
    asks = [place.exec("rm a.log", "a.log"), place.exec("rm b.log", "b.log")]
    model = ScriptedModel([asks, Say("Never said.")])
    async with person(place, TERMINATE) as decided:
        done = await work(place, model)
    assert (done.run.status, done.run.why) == (v1.RunStatus.RUN_STATUS_TERMINATED, "operator ended it: seen")
    assert (len(decided), len(done.calls), len(model.seen)) == (1, 1, 1)
    assert place.files() == ["a.log", "b.log", "keep.db"]


async def test_a_run_that_is_cancelled_leaves_nothing_to_approve(place: Place) -> None:
    held = anyio.Event()

    def observe(event: RunEvent) -> None:
        if isinstance(event, CallHeld):
            held.set()

    async def cancelled() -> None:
        model = ScriptedModel([place.exec("rm a.log", "a.log"), Say("Never said.")])
        await work(place, model, observe=observe)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        await held.wait()
        tasks.cancel_scope.cancel()
    run = await newest_run(place)
    assert (run.status, run.why) == (FAILED, "cancelled")
    async with Client(place.up.address) as client:
        (call,) = await client.calls.list(run=run.run_id)
        pending = await client.approvals.list(call_id=call.call_id)
    assert (call.outcome, pending) == (NOT_APPLIED, [])
    assert "a.log" in place.files()


async def test_a_model_that_fails_ends_the_run_which_keeps_its_calls(place: Place) -> None:
    model = ScriptedModel([ask("files_read", path=f"{place.path}/a.log")])
    with pytest.raises(ModelError, match="the script is over") as caught:
        await work(place, model)
    run = await newest_run(place)
    assert caught.value.run_id == run.run_id
    assert (run.status, run.turns) == (FAILED, 1)
    assert "the script is over" in run.why
    assert "call_settled" in {event["kind"] for event in await events_of(place.up, run.run_id)}


async def test_an_answer_of_nothing_is_none(place: Place) -> None:
    with pytest.raises(ModelError, match="answered with nothing"):
        await work(place, Answers(ModelResponse()))
    assert (await newest_run(place)).status == FAILED


async def test_a_model_that_refuses_has_not_finished(place: Place) -> None:
    done = await work(place, Answers(ModelResponse(refusal="I will not.")))
    assert (done.run.status, done.output) == (FAILED, "I will not.")
    assert done.run.why == "the model refused: I will not."


async def test_the_loss_of_the_host_is_told_and_the_run_goes_on(fresh_up: Up) -> None:
    place = make_place(fresh_up)
    model = ScriptedModel([place.exec("rm a.log; echo begun; sleep 60", "a.log"), Say("The host is gone.")])
    outputs: list[str] = []

    async def agent() -> None:
        outputs.append((await work(place, model)).output)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks, Client(fresh_up.address) as client:
            tasks.start_soon(agent)
            await until_it_prints(client, place)
            os.kill(host_of(fresh_up), signal.SIGKILL)
    (heard,) = told(model)
    assert (heard["outcome"], heard["error"]["reason"]) == ("not_applied", "PREVIEW_LOST")
    assert heard["error"]["remedy"]["kind"] == "retry_after"
    assert outputs == ["The host is gone."]
    assert "a.log" in place.files()


async def until_it_prints(client: Client, place: Place) -> None:
    """Waits until the command of the place's only call has printed something."""
    found: list[v1.Call] = []
    while not found:
        found = await client.calls.list(agent=place.name)
        await anyio.sleep(0.02)
    async with client.calls.watch(found[0].call_id) as updates:
        async for update in updates:
            if update.HasField("output"):
                return


def host_of(up: Up) -> int:
    """The host's process, among the children of `up`."""
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    (host,) = (pid for pid in children if b"cmdop.host" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(host)


class Restartable:
    """A `cmdop up` at one address that can be started again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._command = [sys.executable, "-m", "cmdop", "up", "--data", str(directory / "data")]
        self._command += ["--listen", self.address, "--workspace", "/srv/app"]
        self._command += ["--fixture", str(make_fixture(directory / "fixture"))]
        self._directory = directory
        self.up = self.start()

    def start(self) -> Up:
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("cmdop ready"), line
        self.up = Up(process, self.address, self._directory / "data", self._directory / "fixture", line)
        return self.up


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[Restartable]:
    server = Restartable(tmp_path)
    yield server
    server.up.stop()


@contextmanager
def other_mounts(directory: Path) -> Iterator[None]:
    """Takes the device numbers that an ended fixture freed, so that the next one gets others."""
    places = [directory / str(number) for number in range(8)]
    for place in places:
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", *places], check=True)


async def test_a_wait_for_a_person_outlasts_a_restart_of_the_server(restartable: Restartable, tmp_path: Path) -> None:
    place = make_place(restartable.up)
    model = ScriptedModel([place.exec("rm a.log", "a.log"), Say("Deleted.")])
    held = anyio.Event()

    def observe(event: RunEvent) -> None:
        if isinstance(event, CallHeld):
            held.set()

    runs: list[RunResult] = []

    async def agent() -> None:
        runs.append(await work(place, model, observe=observe))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent)
            await held.wait()
            restartable.up.stop(signal.SIGKILL)
            with other_mounts(tmp_path / "mounts"):
                await anyio.to_thread.run_sync(restartable.start)
                async with Client(restartable.address) as client:
                    (approval,) = await client.approvals.list()
                    await client.approvals.approve(approval)
    assert [call.outcome for call in runs[0].calls] == [v1.Outcome.OUTCOME_APPLIED], runs[0].calls
    assert runs[0].output == "Deleted."
    assert "a.log" not in place.files()


async def test_a_server_that_went_for_good_is_an_error(
    restartable: Restartable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmdop.client.calls.RECONNECT_S", 0.3)
    place = make_place(restartable.up)

    def stop(_: object) -> object:
        restartable.up.stop(signal.SIGKILL)
        return ask("files_read", path=f"{place.path}/a.log")

    with anyio.fail_after(30), pytest.raises(UnreachableError):
        await work(place, ScriptedModel([stop, Say("Never said.")]))  # type: ignore[list-item]
