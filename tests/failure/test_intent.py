"""A server that dies between intent and result: what was permitted happened once or not at all, and each is told.

The moment is held by stopping processes, never by their speed: while the host is stopped, a permit that left
the server lies unread in its socket; while the server is stopped, a report does.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.live import READY_S, make_fixture, recorded

from cmdop import v1
from cmdop.document.read import expected_effect
from cmdop.v1 import call_pb2_grpc

pytestmark = pytest.mark.timeout(180)

WRITE = (
    "call", "files.write", "--host", "local", "--arg", "path=/srv/app/new.txt", "--arg", "content=by the call",
    "--expect", "file.create:/srv/app/new.txt", "--intent", "write it", "--key", "once",
)  # fmt: skip

PERMIT_BYTES = 256
"""Fewer than any permit has, more than the heartbeats of a test."""


def until(holds: Callable[[], bool], deadline_s: float = 60) -> None:
    """Waits until something that must happen soon has happened."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


class Pair:
    """A server and a host that live and die apart."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fixture = make_fixture(directory / "fixture")
        self.target = self.fixture / "srv/app/new.txt"
        self.state = directory / "host"
        self.ledger = self.state / "ledger"
        self.listen = "127.0.0.1:0"
        self.server = self.start_server()
        self.host = self.start_host()

    def start_server(self) -> subprocess.Popen[str]:
        """Starts the server; after the first time where it was before, so that its host finds it."""
        server = self._start("server", "--data", str(self.directory / "data"), "--listen", self.listen)
        self.listen = said(server, "ready on ").split("ready on ")[1].split()[0]
        return server

    def start_host(self) -> subprocess.Popen[str]:
        """Starts the host, and waits until it is attached."""
        key = self.directory / "data/server/permit.pub"
        place = ("--fixture", str(self.fixture), "--workspace", "/srv/app", "--state", str(self.state))
        host = self._start("host", "join", "--server", self.listen, "--permit-key", str(key), "--name", "local", *place)
        said(host, " attached to ")
        return host

    def call(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Runs a command with `--json`: its exit code and what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "cmdop", *arguments, "--json", "--server", self.listen],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def shown(self, *arguments: str) -> str:
        """What a command shows a person, however its lines are broken."""
        done = subprocess.run(
            [sys.executable, "-m", "cmdop", *arguments, "--server", self.listen],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return " ".join(done.stdout.split())

    def propose(self) -> str:
        """Proposes the write, and waits until its permit is durable, and lies unread before the stopped host.

        Returns the call's id.
        """
        before = self.unread()
        # In this process, which has loaded everything: a stopped host is soon taken for gone.
        threading.Thread(target=propose_once, args=[self.listen], daemon=True).start()
        log = self.directory / "data/server/log"
        until(lambda: any(event.HasField("call_permitted") for event in recorded(log)))
        until(lambda: self.unread() >= before + PERMIT_BYTES)
        (permitted,) = (event for event in recorded(log) if event.HasField("call_permitted"))
        return permitted.subject

    def unread(self) -> int:
        """Bytes that the server sent to the host, and the host did not read (proc(5), `/proc/net/tcp`)."""
        port = f":{int(self.listen.rsplit(':')[-1]):04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[4].split(":")[1], 16) for row in rows if row[2].endswith(port))

    def kinds(self, call_id: str) -> list[str]:
        """What was recorded about a call, in order."""
        code, trace = self.call("trace", "show", call_id)
        assert code == 0
        return [event["kind"] for event in trace["events"]]

    def settled(self, call_id: str) -> dict[str, Any]:
        """The call, once it is settled."""
        until(lambda: self.call("calls", "show", call_id)[1]["outcome"] is not None)
        return self.call("calls", "show", call_id)[1]

    def end(self) -> None:
        """Kills what is left."""
        for process in (self.server, self.host):
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", "cmdop", *arguments], stdout=subprocess.PIPE, text=True)


def propose_once(address: str) -> None:
    """Proposes `WRITE` as a plain gRPC client.

    Ours would send it again, under the same key, as soon as the server is back: a second call beside the first.
    """
    action = v1.Action(
        tool="files.write",
        host="local",
        intent="write it",
        arguments_json=json.dumps({"path": "/srv/app/new.txt", "content": "by the call"}),
        expect=[expected_effect("file.create:/srv/app/new.txt")],
    )
    proposal = v1.Proposal(action=action, actor=v1.Actor(user=getpass.getuser()), idempotency_key="once")
    with grpc.insecure_channel(address) as channel, contextlib.suppress(grpc.RpcError):
        call_pb2_grpc.CallsStub(channel).Propose(v1.ProposeRequest(proposal=proposal))


def said(process: subprocess.Popen[str], wanted: str) -> str:
    """The first line with these words."""
    assert process.stdout is not None
    end = time.monotonic() + READY_S
    for line in process.stdout:
        if wanted in line:
            return line
        assert time.monotonic() < end
    raise AssertionError(f"it ended without saying {wanted!r}")


def killed(process: subprocess.Popen[str]) -> None:
    """Kills it, stopped or not, and waits until it is gone."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A server and its host."""
    running = Pair(tmp_path)
    yield running
    running.end()


def test_what_the_host_did_while_the_server_was_dying_is_applied_once(pair: Pair) -> None:
    pair.host.send_signal(signal.SIGSTOP)
    call_id = pair.propose()
    pair.server.send_signal(signal.SIGSTOP)
    pair.host.send_signal(signal.SIGCONT)
    # The host does it and notes what became of it; nobody reads its report.
    until(lambda: any(event.HasField("permit_reported") for event in recorded(pair.ledger)))
    assert pair.target.read_text() == "by the call"
    killed(pair.server)
    pair.server = pair.start_server()
    call = pair.settled(call_id)
    assert call["outcome"] == "applied", call
    assert pair.kinds(call_id).count("call_permitted") == 1
    # The same key is answered with that call: a file that came since stays.
    pair.target.write_text("came since")
    code, again = pair.call(*WRITE)
    assert (code, again["call_id"], again["outcome"]) == (0, call_id, "applied")
    assert pair.target.read_text() == "came since"


@pytest.mark.parametrize("lost", ["the whole ledger", "its end", "nothing, but another has its name"])
def test_a_host_that_lost_its_ledger_proves_nothing_by_not_knowing_a_call(pair: Pair, lost: str) -> None:
    if lost.startswith("nothing"):
        # Another one that is as old, kept aside.
        killed(pair.host)
        pair.state = pair.directory / "other"
        killed(pair.start_host())
        pair.state = pair.directory / "host"
        pair.host = pair.start_host()
    (segment,) = pair.ledger.glob("*.log")
    before = segment.read_bytes()
    pair.host.send_signal(signal.SIGSTOP)
    call_id = pair.propose()
    pair.server.send_signal(signal.SIGSTOP)
    pair.host.send_signal(signal.SIGCONT)
    until(lambda: any(event.HasField("permit_reported") for event in recorded(pair.ledger)))
    killed(pair.host)
    killed(pair.server)
    if lost == "its end":
        segment.write_bytes(before)
        done = subprocess.run(pair.host.args, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "records were acknowledged" in " ".join(done.stderr.split())
    if lost.startswith("nothing"):
        pair.state = pair.directory / "other"
    else:
        # What the refusal says, and what somebody may do without one.
        pair.ledger.rename(pair.directory / "moved away")
    pair.server = pair.start_server()
    pair.host = pair.start_host()
    call = pair.settled(call_id)
    assert (call["outcome"], call["error"]["remedy"]["kind"]) == ("unknown", "reconcile"), call
    code, again = pair.call(*WRITE)
    assert (code, again["call_id"], again["outcome"]) == (6, call_id, "unknown")
    assert pair.kinds(call_id).count("call_permitted") == 1
    # A person looks, and types what they are told to.
    assert f"cmdop calls reconcile {call_id} --outcome applied|not_applied --why" in pair.shown(
        "calls", "show", call_id
    )
    found = ("calls", "reconcile", call_id, "--outcome", "applied", "--why", "the file is there", "--user", "tester")
    code, settled = pair.call(*found)
    assert (code, settled["outcome"], settled["error"]) == (0, "applied", None), settled
    word = settled["reconciliation"]
    assert (word["by"], word["why"], word["outcome"]) == ("tester", "the file is there", "applied")
    assert (word["without_host"], word["measured"], word["contradicted"]) == (False, None, None)
    shown = pair.shown("trace", "show", call_id)
    assert "settled: applied by the word of tester: the file is there" in shown
    assert "side effects not observed" in shown, "somebody's word is no measurement"
    code, again = pair.call(*WRITE)
    assert (code, again["call_id"]) == (0, call_id), "the key stays spent"
    code, twice = pair.call(*found)
    assert (code, twice["error"]["reason"]) == (2, "INVALID_ACTION"), twice


@pytest.mark.parametrize("said", ["not_applied", "applied"])
def test_what_a_host_that_was_away_measured_is_more_than_what_a_person_said(pair: Pair, said: str) -> None:
    pair.host.send_signal(signal.SIGSTOP)
    call_id = pair.propose()
    pair.server.send_signal(signal.SIGSTOP)
    pair.host.send_signal(signal.SIGCONT)
    until(lambda: any(event.HasField("permit_reported") for event in recorded(pair.ledger)))
    killed(pair.host)
    killed(pair.server)
    pair.server = pair.start_server()
    assert pair.settled(call_id)["outcome"] == "unknown"
    found = ("calls", "reconcile", call_id, "--outcome", said, "--why", "so it looks", "--user", "tester")
    code, refused = pair.call(*found)
    assert (code, refused["error"]["reason"]) == (7, "HOST_UNAVAILABLE"), refused
    assert "--without-host" in refused["error"]["message"]
    assert pair.call("calls", "show", call_id)[1]["reconciliation"] is None
    code, settled = pair.call(*found, "--without-host")
    assert (code, settled["outcome"], settled["observed"]) == (0, said, []), settled
    assert "its host was away" in pair.shown("calls", "show", call_id)

    pair.host = pair.start_host()
    until(lambda: pair.call("calls", "show", call_id)[1]["reconciliation"]["measured"] is not None)
    call = pair.call("calls", "show", call_id)[1]
    assert (call["outcome"], call["error"], len(call["observed"])) == ("applied", None, 1), call
    assert call["scores"]["success"] == 1
    word = call["reconciliation"]
    is_wrong = said == "not_applied"
    assert (word["by"], word["outcome"], word["measured"]) == ("tester", said, "applied")
    assert (word["contradicted"], word["without_host"]) == (is_wrong, True)
    assert word["at"] < word["measured_at"]
    verb = "contradicts" if is_wrong else "confirms"
    shown = pair.shown("calls", "show", call_id)
    assert "applied, by its host, at" in shown and f"that {verb} tester" in shown
    trace = pair.shown("trace", "show", call_id)
    assert f"settled: {said.replace('_', ' ')} by the word of tester, without its host: so it looks" in trace
    assert f"the host measured: applied, which {verb} the word of tester" in trace
    assert pair.kinds(call_id).count("call_settled") == 3, "nobody could tell, a person said so, its host measured it"
    # The key is spent, whoever was right.
    code, again = pair.call(*WRITE)
    assert (code, again["call_id"], again["outcome"]) == (0, call_id, "applied")
    # It stays so, and the host has nothing more to say.
    killed(pair.server)
    pair.server = pair.start_server()
    assert pair.call("calls", "show", call_id)[1] == call


def test_what_never_reached_the_host_is_not_applied_and_the_same_key_may_come_again(pair: Pair) -> None:
    pair.host.send_signal(signal.SIGSTOP)
    call_id = pair.propose()
    # The permit is durable and signed; the host dies without having read it, and the server with it.
    killed(pair.host)
    killed(pair.server)
    pair.server = pair.start_server()
    pair.host = pair.start_host()
    call = pair.settled(call_id)
    assert (call["outcome"], pair.target.exists()) == ("not_applied", False), call
    assert pair.kinds(call_id).count("call_permitted") == 1
    code, again = pair.call(*WRITE)
    assert (code, again["outcome"]) == (0, "applied"), again
    assert pair.target.read_text() == "by the call"


def test_a_key_whose_host_died_under_a_preview_is_good_for_the_same_action_and_for_no_other(pair: Pair) -> None:
    place = ("--host", "local", "--arg", "cwd=/srv/app", "--key", "once", "--intent", "write it")
    slow = "while [ ! -e go ]; do sleep 0.1; done; echo by the call > new.txt"
    effect = ("--expect", "file.create:/srv/app/new.txt")
    call = ("call", "terminal.exec", "--arg", f"command={slow}", *effect, *place)
    lost: list[tuple[int, dict[str, Any]]] = []
    caller = threading.Thread(target=lambda: lost.append(pair.call(*call)))
    caller.start()
    # The host noted the permit and works on it.
    until(lambda: any(event.HasField("permit_noted") for event in recorded(pair.ledger)))
    killed(pair.host)
    caller.join()
    ((_, first),) = lost
    assert (first["outcome"], first["error"]["reason"]) == ("not_applied", "HOST_UNAVAILABLE"), first
    assert first["error"]["remedy"]["new_key"] is False
    assert pair.kinds(first["call_id"]).count("call_permitted") == 1
    # Another action under the key, before the host is back and after.
    code, other = pair.call(*WRITE)
    assert (code, other["error"]["reason"]) == (2, "KEY_CONFLICT"), other
    pair.host = pair.start_host()
    code, other = pair.call(*WRITE)
    assert (code, other["error"]["reason"]) == (2, "KEY_CONFLICT"), other
    (pair.fixture / "srv/app/go").touch()
    code, again = pair.call(*call)
    assert (code, again["outcome"]) == (0, "applied"), again
    assert again["call_id"] != first["call_id"]
    assert pair.target.read_text() == "by the call\n"
    # And now it is spent: the same key is answered with that call.
    pair.target.unlink()
    code, third = pair.call(*call)
    assert (code, third["call_id"], pair.target.exists()) == (0, again["call_id"], False)


def test_a_host_that_hangs_is_noticed_within_seconds_and_comes_back(pair: Pair) -> None:
    def is_attached() -> bool:
        (host,) = pair.call("hosts")[1]
        return bool(host["attached"])

    assert is_attached()
    pair.host.send_signal(signal.SIGSTOP)
    until(lambda: not is_attached(), deadline_s=15)
    pair.host.send_signal(signal.SIGCONT)
    until(is_attached)
