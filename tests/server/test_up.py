"""`cmdop up` as an operator meets it: ready, drained, broken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.live import Up, first_line, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)


def host_process(up: Up) -> int:
    """The host's process id, found among the children of `up`."""
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    hosts = [pid for pid in children if b"cmdop.host" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(hosts) == 1, children
    return int(hosts[0])


def wait_for_end(pid: int, deadline_s: float = 20) -> None:
    """Waits until a process is gone; it need not be our child."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        if stat.rpartition(")")[2].split()[0] == "Z":
            return
        assert time.monotonic() < end, f"process {pid} did not end"
        time.sleep(0.02)


def test_one_line_says_that_server_and_host_are_ready(up: Up) -> None:
    pattern = rf"cmdop ready on 127\.0\.0\.1:\d+ \(host local, data {re.escape(str(up.data))}\)"
    assert re.fullmatch(pattern, up.ready_line)
    code, hosts = up.call("hosts")
    assert code == 0
    assert [(host["name"], host["attached"]) for host in hosts] == [("local", True)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_server_and_host(tmp_path: Path, number: int) -> None:
    up = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    host = host_process(up)
    assert up.stop(number) == 0
    wait_for_end(host)


def test_the_host_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    up = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    host = host_process(up)
    assert up.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for_end(host)


def test_a_host_that_was_killed_comes_back(fresh_up: Up) -> None:
    first = host_process(fresh_up)
    os.kill(first, signal.SIGKILL)
    wait_for_end(first)
    deadline = time.monotonic() + 30
    while True:
        code, call = fresh_up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
        if code == 0:
            break
        assert call["error"]["reason"] in ("HOST_UNAVAILABLE", "HOST_ERROR"), call
        assert time.monotonic() < deadline
    assert host_process(fresh_up) != first


def test_a_call_to_a_host_that_is_not_there_never_ran_and_exits_7(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    start_up(tmp_path / "data", fixture).stop()
    command = [sys.executable, "-m", "cmdop", "server", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = first_line(process)
    up = Up(process, line.split()[4], tmp_path / "data", fixture, line)
    try:
        code, call = up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
        assert (code, call["error"]["reason"]) == (7, "HOST_UNAVAILABLE"), call
        assert (call["tool"], call["outcome"]) == ("files.read", "not_applied")
        assert call["call_id"] == call["error"]["call_id"]
        assert call["idempotency_key"].startswith("cli-"), "the remedy is to send it again under the same key"
    finally:
        up.stop()


def test_a_restart_knows_its_calls(tmp_path: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(tmp_path / "data", fixture)
    code, call = up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
    assert code == 0
    up.stop()
    up = start_up(tmp_path / "data", fixture)
    code, found = up.call("calls", "show", call["call_id"])
    assert up.stop() == 0
    assert (code, found["outcome"]) == (0, "applied")


def run_up(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cmdop", "up", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_policy_that_does_not_parse_stops_the_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "policies").mkdir(parents=True)
    (tmp_path / "data" / "policies" / "mine.cedar").write_text("permit(principal, action, resource);\n\nforbid(oops;\n")
    done = run_up(tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "mine.cedar" in done.stderr
    assert "3" in done.stderr
    assert done.stdout == ""


def test_a_policy_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "policies").mkdir(parents=True)
    (tmp_path / "data" / "policies" / "mine.cedar").write_bytes(b"// one\n// \xff\n")
    done = run_up(tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "mine.cedar:2: it is not UTF-8 text" in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_an_address_that_is_taken_stops_the_start(tmp_path: Path, up: Up) -> None:
    done = run_up(tmp_path / "data", "--listen", up.address)
    assert done.returncode == 2
    assert up.address in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workspace", "srv/app"), "--workspace srv/app is relative"),
        (("--host", "a b"), "--host a b"),
        (("--label", "zone"), "--label zone"),
    ],
)
def test_an_option_that_cannot_be_followed_is_told_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    done = run_up(tmp_path / "data", "--listen", "127.0.0.1:0", "--fixture", str(fixture), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_is_in_use_or_damaged_stops_the_start(tmp_path: Path, up: Up) -> None:
    done = run_up(up.data, "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "another process uses this ledger" in " ".join(done.stderr.split())
    log = tmp_path / "data" / "server" / "log"
    log.mkdir(parents=True)
    (log / "00000000000000000001.log").write_bytes(b"x" * 4096)
    done = run_up(tmp_path / "data", "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "LEDGER_CORRUPT" in done.stderr


def test_an_address_that_others_could_reach_is_refused(tmp_path: Path) -> None:
    done = run_up(tmp_path / "data", "--listen", "0.0.0.0:0")
    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_a_fixture_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = run_up(tmp_path / "data", "--fixture", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "--fixture" in done.stderr


def test_a_drain_that_was_asked_for_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    running = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    assert running.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")[0] == 0
    assert running.stop() == 0
    assert capfd.readouterr().err == ""
