"""A signal that is declared by the process's number, by its name, or both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, first_line

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A host on this machine: on a fixture no process is signalled."""
    data = tmp_path / "data"
    command = [sys.executable, "-m", "cmdop", "up", "--data", str(data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--workspace", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    line = first_line(process)
    assert line.startswith("cmdop ready on "), line
    running = Up(process, line.split()[3], data, tmp_path, line.rstrip("\n"))
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("first", ["pid:{pid}", "sleep", "sl*"])
def test_who_adds_what_a_signal_was_refused_for_sends_it_and_misses_nothing(up: Up, first: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            expect = [f"process.signal:{first.format(pid=process.pid)}"]
            code, call = signal(up, process.pid, expect)
            assert (code, call["error"]["reason"]) == (2, "UNDECLARED_EFFECT"), call
            remedy = call["error"]["remedy"]
            assert remedy["kind"] == "declare_effect", remedy
            expect += [f"{effect['kind']}:{effect['target']}" for effect in remedy["effects"]]
            code, call = signal(up, process.pid, expect)
            assert code == 4, call
            code, answer = up.call("approvals", "approve", call["approval_id"], "--confirm", f"pid:{process.pid}")
            assert code == 0, answer
            call = answer["call"]
            assert (code, call["outcome"], call["error"], call["scores"]["clean"]) == (0, "applied", None, True), call
            assert process.wait(10) == -15
            (effect,) = call["observed"]
            assert (effect["target"], effect["process"]["name"]) == (f"pid:{process.pid}", "sleep")
            shown = up.cmdop("calls", "show", call["call_id"]).stdout
            assert f"pid:{process.pid} (sleep; cannot be undone)" in " ".join(shown.split()), shown
        finally:
            process.kill()


def signal(up: Up, pid: int, expect: list[str]) -> tuple[int, dict[str, Any]]:
    declared = [part for one in expect for part in ("--expect", one)]
    arguments = ("--arg", f"pid={pid}", "--arg", "name=sleep", "--agent", "keeper", "--intent", "end it")
    return up.call("call", "process.signal", "--host", "local", *arguments, *declared)
