"""A server that is killed at every step of an approval: nothing happens without everybody's word, and nothing twice.

Each moment is held by what stands in the ledger's files; meanwhile the host is stopped, so that what is permitted
cannot happen before the server is dead.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.failure.test_intent import Pair, killed, said, until
from tests.live import recorded

from cmdop import v1

pytestmark = pytest.mark.timeout(240)

POLICY = """
@id("site.data")
@decision("require_approval")
@approvals("2")
@reason("Two people look at every change of the data.")
forbid (principal, action in Action::"write", resource in Path::"/srv/app/data");
"""
APPROVE = v1.ApprovalVerdict.APPROVAL_VERDICT_APPROVE
COMMIT = v1.Stage.STAGE_COMMIT
PEOPLE = ("grace", "linus")


class Site(Pair):
    """A server by whose policy two people agree, and a host."""

    def start_server(self) -> subprocess.Popen[str]:
        policy = self.directory / "site.cedar"
        policy.write_text(POLICY)
        policies = ("--policy", "workspace", "--policy", str(policy))
        server = self._start("server", "--data", str(self.directory / "data"), "--listen", self.listen, *policies)
        self.listen = said(server, "ready on ").split("ready on ")[1].split()[0]
        return server

    def events(self) -> list[v1.Event]:
        """What is recorded now."""
        return recorded(self.directory / "data/server/log")

    def agreed(self) -> list[str]:
        """Who agreed, as it is recorded, in order."""
        decided = [event.approval_decided.decision for event in self.events() if event.HasField("approval_decided")]
        return [decision.approver for decision in decided if decision.verdict == APPROVE]

    def commits(self) -> int:
        """Permits to commit."""
        return sum(event.call_permitted.permit.stage == COMMIT for event in self.events())

    def approve(self, held: dict[str, Any], who: str) -> subprocess.Popen[bytes]:
        """Somebody approves; the answer may never come."""
        command = [sys.executable, "-m", "cmdop", "approvals", "approve", held["approval_id"], "--user", who]
        return subprocess.Popen(
            [*command, "--json", "--server", self.listen], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.end()


@pytest.mark.parametrize("moment", ["held", "first", "second", "permitted"])
def test_killed_at_any_step_it_happens_once_and_only_after_both_agreed(site: Site, moment: str) -> None:
    target = site.fixture / "srv/app/data/app.db"
    code, held = site.call(
        "call", "terminal.exec", "--host", "local", "--user", "ada", "--agent", "janitor", "--intent", "make room",
        "--arg", "command=rm -f data/app.db", "--arg", "cwd=/srv/app", "--expect", "file.delete:/srv/app/data/app.db",
    )  # fmt: skip
    assert code == 4, held
    site.host.send_signal(signal.SIGSTOP)
    clients: list[subprocess.Popen[bytes]] = []
    try:
        for count, who in enumerate(PEOPLE[: {"held": 0, "first": 1}.get(moment, 2)], start=1):
            clients.append(site.approve(held, who))
            until(lambda count=count: len(site.agreed()) >= count)
        if moment == "permitted":
            until(lambda: site.commits() == 1)
        killed(site.server)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert target.exists(), "nothing can have happened: the host stood still"
    assert site.commits() == 0 or len(site.agreed()) == 2
    site.server = site.start_server()
    site.host.send_signal(signal.SIGCONT)
    for who in PEOPLE:
        if who not in site.agreed():
            assert site.commits() == 0 and target.exists()
            code, answer = site.call("approvals", "approve", held["approval_id"], "--user", who)
            assert code == 0, answer
    call = site.settled(held["call_id"])
    assert (call["outcome"], call["error"]) == ("applied", None), call
    assert not target.exists()
    assert (site.agreed(), site.commits()) == ([*PEOPLE], 1)
    kinds = [event.WhichOneof("kind") for event in site.events() if event.subject == held["call_id"]]
    last_answer = max(index for index, kind in enumerate(kinds) if kind == "approval_decided")
    commit = max(index for index, kind in enumerate(kinds) if kind == "call_permitted")
    assert last_answer < commit, kinds
    _, again = site.call("approvals", "approve", held["approval_id"], "--user", "barbara")
    assert again["error"]["reason"] == "APPROVAL_NOT_PENDING"
