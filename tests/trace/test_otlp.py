"""Traces reach a collector: by hand, and of every settled call while a server lives."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import Up, make_fixture, start_up
from tests.trace.collector import Collector, attributes, collecting

from cmdop import Client, v1
from cmdop.errors import UnreachableError
from cmdop.trace.otlp import Exporter
from cmdop.trace.spans import LONGEST_TEXT, trace_spans

pytestmark = pytest.mark.timeout(180)

CALL = ("call", "files.write", "--host", "local", "--arg", "content=hello")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_a_call_and_its_steps_arrive_as_one_trace(up: Up, collector: Collector) -> None:
    agent = ("--agent", "cleaner", "--intent", "say hello")
    code, held = up.call(*CALL, *agent, "--arg", "path=/srv/app/otlp.txt")
    assert code == 4, held
    code, _ = up.call("approvals", "approve", held["approval_id"], "--comment", "fine")
    assert code == 0
    code, sent = up.call("trace", "export", held["call_id"], "--endpoint", collector.endpoint)
    assert code == 0, sent
    assert sent["spans"] == len(collector.spans)
    (call,) = collector.named("execute_tool files.write")
    found = attributes(call)
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["gen_ai.tool.name"] == "files.write"
    assert found["gen_ai.agent.name"] == "cleaner"
    assert found["cmdop.call.id"] == held["call_id"]
    assert found["cmdop.call.outcome"] == "applied"
    assert found["cmdop.decision"] in ("allow", "require_approval")
    assert found["cmdop.approval.approver"] == "tester"
    assert found["cmdop.approval.comment"] == "fine"
    assert found["cmdop.effects.observed"] == ["file.create:/srv/app/otlp.txt"]
    assert found["cmdop.score.clean"] is True
    assert len(found["cmdop.permits"]) == 2
    steps = [span for span in collector.spans if span.parent_span_id == call.span_id]
    assert [span.name for span in steps] == [
        *("proposed", "decided", "permitted", "started", "previewed", "held"),
        *("permitted", "started", "committed", "settled"),
    ]
    assert {span.trace_id for span in collector.spans} == {call.trace_id}
    for span in steps:
        assert call.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= call.end_time_unix_nano
    held_span = next(span for span in steps if span.name == "held")
    assert held_span.end_time_unix_nano - held_span.start_time_unix_nano > 50_000_000, "a person took a while"
    assert attributes(held_span)["cmdop.approval.verdict"] == "approve"
    permitted = [attributes(span) for span in steps if span.name == "permitted"]
    assert [one["cmdop.permit.stage"] for one in permitted] == ["preview", "commit"]
    scope = collector.requests[0].resource_spans[0].scope_spans[0]
    assert scope.schema_url.startswith("https://opentelemetry.io/schemas/")


def test_every_settled_call_of_a_servers_life_arrives_once(tmp_path: Path, collector: Collector) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    first = start_up(tmp_path / "data", fixture, env=env)
    try:
        calls = [first.call(*CALL, "--arg", f"path=/srv/app/{name}.txt")[1]["call_id"] for name in "abc"]
        code, held = first.call(*CALL, "--agent", "cleaner", "--intent", "x", "--arg", "path=/srv/app/held.txt")
        assert code == 4
        assert len(collector.wait_for("execute_tool files.write", 3)) == 3
        first.call("approvals", "approve", held["approval_id"])
        assert len(collector.wait_for("execute_tool files.write", 4)) == 4
        _, refused = first.call("call", "files.write", "--host", "local", "--arg", "path=/etc/passwd")
        last = first.call(*CALL, "--arg", "path=/srv/app/last.txt")[1]["call_id"]
    finally:
        first.stop()
    expected = [*calls, held["call_id"], last, *([refused["call_id"]] if refused["call_id"] else [])]

    def exported() -> list[str]:
        return sorted(attributes(span)["cmdop.call.id"] for span in collector.named("execute_tool files.write"))

    assert exported() == sorted(expected), "the last one leaves with the drain"
    second = start_up(tmp_path / "data", fixture, env=env)
    try:
        fresh = second.call(*CALL, "--arg", "path=/srv/app/fresh.txt")[1]["call_id"]
        collector.wait_for("execute_tool files.write", len(expected) + 1)
    finally:
        second.stop()
    assert exported() == sorted([*expected, fresh])


def test_a_collector_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    running = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"), env=env)
    try:
        for name in "abc":
            assert running.call(*CALL, "--arg", f"path=/srv/app/{name}.txt")[0] == 0
    finally:
        assert running.stop() == 0


def test_an_export_to_a_collector_that_is_gone_prints_one_error(up: Up) -> None:
    code, call = up.call("call", "files.list", "--host", "local", "--arg", "path=/srv/app")
    assert code == 0
    done = up.cmdop("trace", "export", call["call_id"], "--endpoint", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (7, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error       UNREACHABLE  the collector at http://127.0.0.1:1/v1/traces did not take")
    assert "Transient" not in done.stderr
    assert lines[-1].split() == ["remedy", "retry_after", "ms", "1000"]


def test_a_collector_that_drips_its_answer_ends_no_export(up: Up, collector: Collector) -> None:
    code, call = up.call("call", "files.list", "--host", "local", "--arg", "path=/srv/app")
    assert code == 0
    collector.drips = True
    done = up.cmdop("trace", "export", call["call_id"], "--endpoint", collector.endpoint)
    assert (done.returncode, done.stdout) == (7, "")
    assert "no whole answer within 10 s" in done.stderr
    deadline = time.monotonic() + 30
    while not collector.dripped and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(collector.dripped) == 1, "it was cut off, and not asked again"


def test_a_dripping_answer_keeps_no_later_call_from_its_export(tmp_path: Path, collector: Collector) -> None:
    collector.drips = True
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    running = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"), env=env)
    try:
        running.call(*CALL, "--arg", "path=/srv/app/first.txt")
        deadline = time.monotonic() + 60
        while not collector.dripped and time.monotonic() < deadline:
            time.sleep(0.05)
        collector.drips = False
        later = running.call(*CALL, "--arg", "path=/srv/app/later.txt")[1]["call_id"]
        found = collector.wait_for("execute_tool files.write", 2, seconds=60)
        assert later in [attributes(span)["cmdop.call.id"] for span in found]
        collector.drips = True
        running.call(*CALL, "--arg", "path=/srv/app/last.txt")
    finally:
        assert running.stop() == 0


async def recorded_run(address: str) -> str:
    """A run of an agent with one turn and one call, as the loop records it."""
    async with Client(address, user="tester", agent="looker") as client:
        run = await client.runs.start("look around", model="scripted")
        turn = v1.ModelTurn(run_id=run.run_id, turn=1, model="scripted", prompt_json='"x"' * 9000, input_tokens=7)
        turn.response_json, turn.output_tokens, turn.duration_ns = '{"text": "hm"}', 3, 1_000_000
        await client.runs.record_turn(turn)
        async with Client(address, user="tester", agent="looker", run=run.run_id) as inner:
            await inner.calls.propose("files.list", "local", {"path": "/srv/app"}, intent="look", model_call_id="c1")
        await client.runs.finish(run.run_id, v1.RunStatus.RUN_STATUS_FINISHED, final_output="seen")
        return run.run_id


@pytest.mark.anyio
async def test_a_run_its_turns_and_its_calls_are_one_tree(up: Up, collector: Collector) -> None:
    run_id = await recorded_run(up.address)
    async with Client(up.address) as client:
        spans = trace_spans(await client.traces.get(run_id))
    exporter = Exporter(f"{collector.endpoint}/v1/traces")
    await exporter.export(spans)
    exporter.close()
    (run,) = collector.named("invoke_agent looker")
    (turn,) = collector.named("chat scripted")
    (call,) = collector.named("execute_tool files.list")
    assert turn.parent_span_id == call.parent_span_id == run.span_id
    assert not run.parent_span_id
    assert attributes(turn)["gen_ai.usage.input_tokens"] == 7
    assert turn.end_time_unix_nano - turn.start_time_unix_nano == 1_000_000
    assert len(attributes(turn)["cmdop.turn.prompt"]) < LONGEST_TEXT + 100, "long texts are cut"
    assert attributes(call)["gen_ai.tool.call.id"] == "c1"


@pytest.mark.anyio
async def test_a_refusing_collector_is_a_typed_error(up: Up, collector: Collector) -> None:
    collector.status = 400
    run_id = await recorded_run(up.address)
    async with Client(up.address) as client:
        spans = trace_spans(await client.traces.get(run_id))
    exporter = Exporter(f"{collector.endpoint}/v1/traces")
    with pytest.raises(UnreachableError, match="did not take"):
        await exporter.export(spans)
    exporter.close()


def test_without_the_extra_there_is_one_clear_message(up: Up) -> None:
    call_id = up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")[1]["call_id"]
    program = (
        "import sys; sys.modules['opentelemetry.sdk.resources'] = None\n"
        "from cmdop.cli import main\n"
        f"command = ['trace', 'export', {call_id!r}, '--endpoint', 'http://127.0.0.1:1', '--server', {up.address!r}]\n"
        "sys.exit(main(command))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "cmdop[otlp]" in done.stderr
    assert "Traceback" not in done.stderr
