"""What is lost when something dies, fills up or is damaged: nothing that was acknowledged, and nothing runs twice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, frames, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

READ = ("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")


def until(holds: Callable[[], bool], deadline_s: float = 30) -> None:
    """Waits until something that must happen soon has happened."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def started(up: Up, *arguments: str) -> subprocess.Popen[bytes]:
    """A command line against it that goes on in the background."""
    command = [sys.executable, "-m", "cmdop", *arguments, "--json", "--server", up.address]
    environment = os.environ | {"CMDOP_USER": "tester"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def calls(up: Up) -> list[dict[str, Any]]:
    """Every call of the server."""
    code, found = up.call("calls", "list")
    assert code == 0
    listed: list[dict[str, Any]] = json.loads(json.dumps(found))
    return listed


def kinds(up: Up, call_id: str) -> list[str]:
    """What was recorded about a call, in order."""
    code, trace = up.call("trace", "show", call_id)
    assert code == 0
    return [event["kind"] for event in trace["events"]]


def running_call(up: Up) -> str:
    """Id of the one call whose command runs now."""
    going: list[str] = []

    def is_going() -> bool:
        # What was seen once is kept: it may be over before anybody asks again.
        going.extend(str(call["call_id"]) for call in calls(up) if call["state"] in ("permitted", "running"))
        return bool(going)

    until(is_going)
    return going[0]


SLOW = (
    "call", "terminal.exec", "--host", "local", "--arg", "command=sleep 5; rm -f logs/app.log", "--arg", "cwd=/srv/app",
    "--expect", "file.delete:/srv/app/logs/app.log", "--key", "slow",
)  # fmt: skip


def test_a_command_that_dies_with_its_server_and_host_is_not_applied_and_starts_no_second_time(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    # It waits for as long as a file is not there, so that it is running whenever it is killed.
    script = "while [ ! -e /srv/app/go ]; do sleep 0.2; done; rm -f logs/app.log"
    place = ("--arg", "cwd=/srv/app", "--expect", "file.delete:/srv/app/logs/app.log", "--key", "slow")
    call = ("call", "terminal.exec", "--host", "local", "--arg", f"command={script}", *place)
    client = started(up, *call)
    until(lambda: is_running(script))
    call_id = running_call(up)
    up.stop(signal.SIGKILL)
    client.kill()
    client.wait()
    up = start_up(tmp_path / "data", fixture)
    try:
        until(lambda: up.call("calls", "show", call_id)[1]["outcome"] is not None)
        _, settled = up.call("calls", "show", call_id)
        assert (settled["outcome"], (fixture / "srv/app/logs/app.log").exists()) == ("not_applied", True), settled
        assert kinds(up, call_id).count("call_permitted") == 1, "nothing was started again by itself"
        (fixture / "srv/app/go").touch()
        # The same key never starts it again: it answers with the call that has it. Another key does.
        _, again = up.call(*call)
        assert (again["call_id"], again["outcome"]) == (call_id, "not_applied")
        code, anew = up.call(*call[:-1], "anew")
        assert (code, anew["outcome"]) == (0, "applied"), anew
        assert not (fixture / "srv/app/logs/app.log").exists()
    finally:
        up.stop()


def is_running(script: str) -> bool:
    """Is there a shell that was given this script?"""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"bash" in words[0] and script.encode() in words:
                return True
    return False


def test_what_is_held_survives_a_kill_and_can_still_be_approved(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    remove = ("--arg", "command=rm -f logs/app.log", "--arg", "cwd=/srv/app", "--intent", "make room")
    expect = ("--expect", "file.delete:/srv/app/logs/app.log", "--agent", "janitor")
    code, held = up.call("call", "terminal.exec", "--host", "local", *remove, *expect)
    assert (code, held["outcome"]) == (4, None)
    up.stop(signal.SIGKILL)
    up = start_up(tmp_path / "data", fixture)
    try:
        code, approved = up.call("approvals", "approve", held["approval_id"])
        assert (code, approved["call"]["outcome"]) == (0, "applied"), approved
        assert not (fixture / "srv/app/logs/app.log").exists()
    finally:
        up.stop()


def test_a_call_whose_client_is_gone_settles_all_the_same(fresh_up: Up) -> None:
    client = started(fresh_up, *SLOW)
    call_id = running_call(fresh_up)
    client.kill()
    client.wait()
    until(lambda: fresh_up.call("calls", "show", call_id)[1]["outcome"] is not None)
    assert fresh_up.call("calls", "show", call_id)[1]["outcome"] == "applied"
    assert not (fresh_up.fixture / "srv/app/logs/app.log").exists()


def segment(data: Path) -> Path:
    """The only segment of a young ledger."""
    (only,) = (data / "server/log").glob("*.log")
    return only


def plain(line: str) -> str:
    """A line without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def unwrapped(text: str) -> str:
    """What was printed for a terminal, without the breaks of its lines: a path may be longer than one."""
    return "".join(text.split())


def refused(data: Path, fixture: Path) -> subprocess.CompletedProcess[str]:
    """A start that must fail."""
    command = [sys.executable, "-m", "cmdop", "up", "--data", str(data), "--listen", "127.0.0.1:0"]
    return subprocess.run(
        [*command, "--fixture", str(fixture)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_caller_who_loses_the_server_for_good_is_told_that_nobody_knows_and_the_key_that_makes_it_safe(
    tmp_path: Path,
) -> None:
    up = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    call = ("call", "terminal.exec", "--host", "local", "--arg", "cwd=/srv/app", "--arg", "command=sleep 30")
    command = [sys.executable, "-m", "cmdop", *call, "--json", "--server", up.address]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    running_call(up)
    up.stop(signal.SIGKILL)
    said, _ = client.communicate(timeout=60)
    told = json.loads(said)
    assert client.returncode == 6, said
    assert (told["outcome"], told["error"]["reason"]) == ("unknown", "OUTCOME_UNKNOWN"), said
    assert told["idempotency_key"] and told["idempotency_key"] in told["error"]["message"], said


def test_a_flipped_byte_of_a_hosts_ledger_stops_its_start_in_words(tmp_path: Path) -> None:
    up = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    assert up.call(*READ)[0] == 0
    up.stop()
    (path,) = (tmp_path / "data/host/ledger").glob("*.log")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    done = refused(tmp_path / "data", up.fixture)
    assert done.returncode not in (0, None)
    assert path.name in unwrapped(done.stderr) and "LEDGER_CORRUPT" in done.stderr, done.stderr
    assert "Mend what the host's own message names" in done.stderr and "retry_after" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_a_flipped_byte_of_the_ledger_stops_the_start_and_is_named(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    up.call(*READ)
    up.stop()
    path = segment(tmp_path / "data")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = refused(tmp_path / "data", fixture)
    assert done.returncode not in (0, None)
    assert path.name in unwrapped(done.stderr), done.stderr


def test_a_ledger_that_lost_acknowledged_records_stops_the_start(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    up.call(*READ)
    up.stop()
    path = segment(tmp_path / "data")
    cut = path.read_bytes()[:-100]
    path.write_bytes(cut)
    for _ in range(2):
        done = refused(tmp_path / "data", fixture)
        assert done.returncode not in (0, None)
        assert "acknowledged" in done.stderr and path.name in unwrapped(done.stderr), done.stderr
        # What is left of it may be all that tells what was lost.
        assert path.read_bytes() == cut
    (place,) = re.findall(r"broken at byte (\d+)", " ".join(done.stderr.split()))[:1]
    assert 0 < int(place) < len(cut)


def test_a_torn_tail_is_cut_and_an_index_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    _, call = up.call(*READ)
    up.stop()
    # What a process leaves that dies while it appends: half a record that nobody was told about.
    torn = b"\x40\x00\x00\x00half"
    path = segment(tmp_path / "data")
    with path.open("ab") as log:
        log.write(torn)
    kept = sum(1 for _ in frames(path.read_bytes()))
    for file in (tmp_path / "data/server").glob("index.db*"):
        file.unlink()
    with (tmp_path / "said").open("w+") as said:
        up = start_up(tmp_path / "data", fixture, stderr=said)
        said.seek(0)
        lines = [plain(line) for line in said if "torn" in line]
    try:
        # Which file, how much of it, and what the last record is that stays.
        (line,) = lines
        assert f"segment={path} bytes={len(torn)} last_kept={kept}" in line, line
        code, found = up.call("calls", "show", call["call_id"])
        assert (code, found["outcome"]) == (0, "applied")
        with sqlite3.connect(tmp_path / "data/server/index.db") as index:
            assert index.execute("SELECT count(*) FROM call").fetchone() == (1,)
        index.close()
    finally:
        up.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", place], check=True)
    yield place
    # A server that a failed test left behind still has it open.
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> Path:
    """Takes every block that is left on a file system; what is returned holds them."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as full:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while full.write(bytes(size)) == size:
                    pass
    return filler


def refused_for_room(up: Up, key: str) -> None:
    """A call is refused because the disk is full, and was not executed."""
    code, call = up.call("call", "files.delete", "--host", "local", "--arg", "path=/srv/app/logs/app.log", "--key", key)
    assert (code, call["error"]["reason"]) == (3, "STORAGE_FULL"), call
    assert call["error"]["remedy"] == {"kind": "retry_after", "ms": 1000, "new_key": False}, call
    assert (up.fixture / "srv/app/logs/app.log").exists()


def test_on_a_full_disk_nothing_runs_and_with_room_again_the_server_goes_on_by_itself(
    small_disk: Path, tmp_path: Path
) -> None:
    up = start_up(small_disk / "data", make_fixture(tmp_path / "fixture"))
    try:
        code, before = up.call(*READ)
        assert code == 0
        filler = fill(small_disk)
        for number in range(5):
            refused_for_room(up, f"full-{number}")
        # What was recorded last is not in the index, which has no room for it.
        assert before["call_id"] in [call["call_id"] for call in calls(up)]
        for noun in ("calls", "trace"):
            code, found = up.call(noun, "show", before["call_id"])
            assert (code, before["call_id"] in json.dumps(found)) == (0, True), found
        for question in (("approvals", "list"), ("hosts",), ("policy", "show")):
            code, found = up.call(*question)
            assert code == 0, found
        filler.unlink()
        # The same key again: nothing was executed under it.
        code, call = up.call(
            "call", "files.delete", "--host", "local", "--arg", "path=/srv/app/logs/app.log", "--key", "full-0"
        )
        assert (code, call["outcome"]) == (0, "applied"), call
        assert not (up.fixture / "srv/app/logs/app.log").exists()
        code, found = up.call("calls", "show", before["call_id"])
        assert (code, found["outcome"]) == (0, "applied")
    finally:
        up.stop()


def test_a_call_that_runs_while_the_disk_fills_keeps_its_result_through_a_kill(
    small_disk: Path, tmp_path: Path
) -> None:
    up = start_up(small_disk / "data", make_fixture(tmp_path / "fixture"))
    call = ("call", "terminal.exec", "--host", "local", "--arg", "cwd=/srv/app", "--key", "slow")
    command = [sys.executable, "-m", "cmdop", *call, "--arg", "command=sleep 4; echo done", "--json"]
    client = subprocess.Popen([*command, "--server", up.address], stdout=subprocess.PIPE, text=True)
    call_id = running_call(up)
    filler = fill(small_disk)
    refused_for_room(up, "full")
    said, _ = client.communicate(timeout=60)
    told = json.loads(said)
    # The private layer shares the disk: its command is ended, and that is a result like any other.
    assert (told["outcome"], told["error"]["reason"]) == ("not_applied", "HOST_STORAGE_FULL"), said
    up.stop(signal.SIGKILL)
    filler.unlink()
    up = start_up(small_disk / "data", up.fixture)
    try:
        code, found = up.call("calls", "show", call_id)
        assert code == 0
        assert found == told, "what was told is what was recorded"
    finally:
        up.stop()


def test_killed_on_a_full_disk_a_server_starts_again_on_it_and_goes_on_once_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    up = start_up(small_disk / "data", make_fixture(tmp_path / "fixture"))
    code, before = up.call(*READ)
    assert code == 0
    filler = fill(small_disk)
    refused_for_room(up, "full")
    up.stop(signal.SIGKILL)
    up = start_up(small_disk / "data", up.fixture)
    try:
        refused_for_room(up, "full-again")
        filler.unlink()
        code, found = up.call("calls", "show", before["call_id"])
        assert (code, found["outcome"]) == (0, "applied")
        code, _ = up.call(*READ, "--key", "after")
        assert code == 0
    finally:
        up.stop()


def test_an_argument_that_is_too_large_names_the_limit(up: Up) -> None:
    proposal = {
        "tool": "files.write",
        "host": "local",
        "intent": "x",
        "arguments": {"path": "/srv/app/x", "content": "x" * (1 << 20)},
    }
    code, call = up.call("call", "--from", "-", stdin=json.dumps(proposal))
    assert code == 2
    assert call["error"]["reason"] == "ARGUMENTS_TOO_LARGE"
    assert "1048576" in call["error"]["message"]
