"""A command that tries to get out and says nothing of it, through a real server and host: each attempt is told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

ATTEMPTS = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
NEWUSER, ATTACH = 0x10000000, 16
def connect():
    with socket.socket() as s: s.connect(("127.0.0.1", PORT))
def raw(): socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
for attempt in (
    lambda: libc.mount(b"none", b"/mnt", b"tmpfs", 0, None),
    lambda: libc.unshare(NEWUSER),
    lambda: libc.ptrace(ATTACH, 1, None, None),
    lambda: os.kill(1, 9),
    lambda: os.kill(OUTSIDE, 9),
    raw,
    connect,
    lambda: os.open("DATA", os.O_RDONLY),
    lambda: os.listdir("DATA"),
):
    try: attempt()
    except BaseException: pass
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("escapes") / "log"


@pytest.fixture(scope="module")
def up(log: Path) -> Iterator[Up]:
    """A server and host whose log is kept."""
    with log.open("w") as errors:
        running = start_up(log.parent / "data", make_fixture(log.parent / "fixture"), stderr=errors)
        yield running
        running.stop()


def told(up: Up) -> list[str]:
    """What must be told of the script's attempts."""
    port = up.address.rsplit(":", 1)[1]
    return [
        "mount",
        "unshare user namespace",
        "ptrace",
        "signal process 1",
        f"signal process {up.process.pid}",
        "socket raw",
        f"connect 127.0.0.1:{port}",
        f"open {up.data}",
        f"list {up.data}",
    ]


def attempt(up: Up, more: str = "") -> tuple[int, dict[str, Any]]:
    """Runs the script as an agent."""
    port = up.address.rsplit(":", 1)[1]
    script = ATTEMPTS.replace("PORT", port).replace("DATA", str(up.data)).replace("OUTSIDE", str(up.process.pid))
    place = up.fixture / "srv/app" / f"{uuid.uuid4().hex[:8]}.py"
    place.write_text(script)
    line = f"python3 /srv/app/{place.name}{more}"
    arguments = ["--arg", f"command={line}", "--arg", "cwd=/srv/app", "--intent", "tidy up"]
    return up.call("call", "terminal.exec", "--host", "local", "--agent", "janitor", *arguments)


def test_what_a_silent_script_tried_is_told_everywhere(up: Up, log: Path) -> None:
    code, call = attempt(up)
    assert code == 0, call
    expected = set(told(up))
    counts = {attempt["what"]: attempt["count"] for attempt in call["refused"]}
    assert expected <= set(counts), counts
    assert counts["mount"] == 1 and call["refused_more"] == 0
    programs = {attempt["what"]: attempt["program"] for attempt in call["refused"]}
    assert "python3" in programs["ptrace"], programs
    # No effect: nothing happened, so nothing is beside what was meant.
    assert (call["observed"], call["side_effects"], call["scores"]["clean"]) == ([], [], True), call
    trace = up.cmdop("trace", "show", call["call_id"]).stdout
    shown = " ".join(up.cmdop("calls", "show", call["call_id"]).stdout.split())
    for what in sorted(expected):
        assert what in trace.replace("\n", ""), trace
    assert "refused mount" in shown, shown
    lines = [line for line in log.read_text().splitlines() if call["call_id"] in line and "confinement" in line]
    assert len(lines) == 1 and all(what in lines[0] for what in expected), lines


def test_who_approves_sees_what_was_tried(up: Up) -> None:
    _, call = attempt(up, more="; touch /srv/app/made")
    assert call["approval_id"], call
    shown = " ".join(up.cmdop("approvals", "show", call["approval_id"]).stdout.split())
    assert "refused mount" in shown and "unshare user namespace" in shown, shown


def test_an_ordinary_command_tried_nothing(up: Up) -> None:
    arguments = ["--arg", "command=id; ls -l /srv/app; git --version; getent hosts localhost", "--intent", "look"]
    _, call = up.call("call", "terminal.exec", "--host", "local", "--agent", "janitor", *arguments)
    assert (call["refused"], call["refused_more"]) == ([], 0), call
