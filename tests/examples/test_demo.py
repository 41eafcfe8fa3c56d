"""The demo shows what it says, and the machine keeps what it must."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from cmdop import Client, v1
from cmdop.document import call_document, word
from cmdop.errors import reason_name

pytestmark = pytest.mark.timeout(180)

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    return module


def played(demo: ModuleType, directory: Path, backend: str) -> tuple[Any, list[v1.Trace]]:
    """What came of the scripted demo, with the trace of each call and of the run."""
    machine = directory / "machine"
    demo.make_machine(machine)
    with demo.server(directory / "data", machine) as address:
        play = partial(demo.play, address, machine, model=demo.script(), ask=False, numbered=True)
        shown = anyio.run(play, backend=backend)

        async def traces() -> list[v1.Trace]:
            async with Client(address) as client:
                return [await client.traces.get(id) for id in [*(c.call_id for c in shown.calls), shown.run.run_id]]

        return shown, anyio.run(traces, backend=backend)


def test_the_demo_keeps_every_promise(demo: ModuleType, tmp_path: Path, anyio_backend: str) -> None:
    shown, traces = played(demo, tmp_path, anyio_backend)
    malformed, corrected, forbidden, approved, beyond = (call_document(call) for call in shown.calls)
    kinds = [{event["kind"] for event in events_of(trace)} for trace in traces]

    # A malformed call: every fault with what to do, and then the corrected call.
    assert malformed["error"]["reason"] == "INVALID_ARGUMENTS"
    assert {fault["pointer"] for fault in malformed["error"]["violations"]} == {
        "/arguments/cwd",
        "/arguments/timeout_s",
    }
    assert malformed["error"]["remedy"]["kind"] == "fix_arguments"
    assert (corrected["outcome"], corrected["error"]) == ("applied", None)
    assert "archive" in corrected["result"]["stdout"]

    # Forbidden: refused by a named policy with a remedy, before any permit.
    assert forbidden["error"]["reason"] == "POLICY_DENIED"
    assert [policy["id"] for policy in forbidden["error"]["policies"]] == ["workspace.outside"]
    assert forbidden["error"]["policies"][0]["remedy"]
    assert not kinds[2] & {"call_permitted", "call_started"}

    # Declared, previewed, approved, committed: exactly this is gone, and nothing else.
    assert [(effect["kind"], effect["target"]) for effect in approved["observed"]] == [("file.delete", "/srv/app/logs")]
    assert kinds[3] >= {"call_previewed", "call_held", "approval_decided", "call_settled"}
    assert approved["scores"] | {"clean": True, "side_effects": 0} == approved["scores"]
    assert shown.lost() == sorted(name for name in shown.before if name.startswith("/srv/app/logs/"))
    assert shown.unexplained() == []
    assert set(shown.after) <= set(shown.before)

    # Beyond its declaration: seen in the preview, rejected, scored; nothing changed.
    assert [(effect["target"], effect["severity"]) for effect in beyond["side_effects"]] == [
        ("/srv/app/data/app.db", "high")
    ]
    assert (beyond["outcome"], beyond["error"]["reason"]) == ("not_applied", "APPROVAL_REJECTED")
    assert (beyond["scores"]["side_effects"], beyond["scores"]["severity"]) == (1, "high")
    assert "/srv/app/data/app.db" in shown.after and "/srv/app/archive/2023.gz" in shown.after

    # Taken back an approval later: every file is there again, as it was.
    assert shown.undo is not None and shown.undo.outcome == v1.Outcome.OUTCOME_APPLIED
    assert shown.undo.approval.decision.approver == "operator"
    assert shown.restored == shown.before

    # A release is live; a broken one is noticed by its health check, and the one before is live again.
    first, second = (call_document(call) for call in shown.deployed.calls)
    assert (first["outcome"], first["error"], shown.deployed.answers) == ("applied", None, ("v1", "v1"))
    assert second["error"]["reason"] == "HEALTH_CHECK_FAILED"
    assert {"deploy.release", "deploy.rollback"} <= {effect["kind"] for effect in second["observed"]}

    # Passed on by who was asked, and then by itself as nobody was there in time, until the last of the chain decides.
    assert shown.passed_on is not None
    answers = shown.passed_on.approval.answers
    assert [(word(v1.ApprovalVerdict, it.verdict), it.approver) for it in answers] == [
        ("escalate", "operator"),
        ("escalate", ""),
        ("approve", "barbara"),
    ]
    exported = call_document(shown.passed_on)
    assert (exported["outcome"], exported["decision"]["policies"]) == ("applied", ["site.exports"])
    assert [(effect["kind"], effect["target"]) for effect in exported["observed"]] == [
        ("file.create", "/srv/app/exports/index.html")
    ]

    # Frozen, nothing changes though policy allows it, and only a person lifts it; the same call is applied then.
    assert shown.frozen is not None
    stopped, thawed = call_document(shown.frozen.stopped), call_document(shown.frozen.after)
    assert (stopped["outcome"], stopped["error"]["reason"], stopped["decision"]["effect"]) == (
        "not_applied",
        "FROZEN",
        "allow",
    )
    assert shown.frozen.unchanged
    assert (shown.frozen.freeze.author.user, shown.frozen.freeze.why) == ("barbara", "its disk reports errors")
    assert (shown.frozen.freeze.lift.by.user, shown.frozen.freeze.lift.why) == ("barbara", "the disk is replaced")
    assert (thawed["outcome"], thawed["error"]) == ("applied", None)

    # Accepted by following remedies alone.
    assert shown.recovered is not None and shown.recovered.accepted
    assert [reason_name(error.reason) for error in shown.recovered.errors] == ["UNKNOWN_TOOL", "UNDECLARED_EFFECT"]
    assert not (tmp_path / "machine/srv/app/cleanup.sh").exists()

    # The run's trace holds all of it.
    assert [call.call_id for call in traces[-1].calls] == [call.call_id for call in shown.calls]
    assert kinds[-1] >= {"run_started", "turn_recorded", "run_finished", "call_settled"}
    assert shown.run.status == v1.RunStatus.RUN_STATUS_FINISHED


def events_of(trace: v1.Trace) -> list[dict[str, Any]]:
    from cmdop.trace import trace_document

    events: list[dict[str, Any]] = trace_document(trace)["events"]
    return events


@pytest.mark.parametrize(
    ("answers", "gone", "back"),
    [("n\nn\n", 0, 0), ("y\nn\ny\nn\n", 6, 6), ("y\nn\nn\ny\n", 6, 0), ("n\ny\n", 3, 0)],
)
def test_asked_the_person_decides(answers: str, gone: int, back: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = subprocess.run(
        [sys.executable, DEMO, "--ask"], input=answers, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a script plays the model" in done.stdout
    assert f"{gone} files gone, 0 of them without an approved effect" in done.stdout
    assert f"{back} of them back by undo, as they were; the service answers v1" in done.stdout


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "is_yes"),
    [("y", True), (" YES\n", True), ("yank", False), ("yesterday", False), ("y\x1b[A", False), ("", False)],
)
async def test_only_a_yes_is_a_yes(demo: ModuleType, monkeypatch: pytest.MonkeyPatch, said: str, is_yes: bool) -> None:
    monkeypatch.setattr("builtins.input", lambda _: said)
    assert await demo.is_yes() is is_yes


def test_a_person_who_ends_it_at_the_prompt_reads_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    pipe, command = subprocess.PIPE, [sys.executable, "-u", DEMO, "--ask"]
    # The keys of a terminal reach all that runs in it.
    with subprocess.Popen(command, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        shown = b""
        while b"approve this? [y/N]" not in shown:
            read = os.read(process.stdout.fileno(), 65536)
            assert read, shown.decode()
            shown += read
        os.killpg(process.pid, signal.SIGINT)
        rest, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert said.decode().strip().splitlines()[-1:] == ["ended at the terminal; nothing more was approved"]
    assert b"Traceback" not in said and b"ExceptionGroup" not in said + rest, said.decode()
