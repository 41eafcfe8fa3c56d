"""Who must agree, who is asked next, and what an approver sees, on a real server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

POLICY = """
@id("site.database")
@decision("require_approval")
@approvals("2")
@reason("Two people look at every change of the data.")
forbid (principal, action in Action::"write", resource in Path::"/srv/app/data");

@id("site.logs")
@decision("require_approval")
@approvers("operators 1h, leads")
@reason("Operators look at the logs.")
forbid (principal, action in Action::"write", resource in Path::"/srv/app/logs");
"""
ENTITIES = """
[groups.users]
operators = ["grace", "linus"]
leads = ["barbara"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Up, list[str]]]:
    """A server with that policy, and what starts it again."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "entities.toml").write_text(ENTITIES)
    policy = tmp_path / "site.cedar"
    policy.write_text(POLICY)
    arguments = ["--policy", "workspace", "--policy", str(policy)]
    up = start_up(data, make_fixture(tmp_path / "fixture"), *arguments)
    try:
        yield up, arguments
    finally:
        up.stop()


def held(up: Up, command: str, *expect: str) -> dict[str, Any]:
    """A command of ada's agent that waits for people."""
    declared = [word for effect in expect for word in ("--expect", effect)]
    code, call = up.call(
        "call", "terminal.exec", "--host", "local", "--user", "ada", "--agent", "janitor", "--intent", "make room",
        "--arg", f"command={command}", "--arg", "cwd=/srv/app", *declared,
    )  # fmt: skip
    assert code == 4, call
    return call


def approve(up: Up, call: dict[str, Any], user: str, *more: str) -> tuple[int, dict[str, Any]]:
    return up.call("approvals", "approve", call["approval_id"], "--user", user, *more)


def reason(answer: dict[str, Any]) -> str:
    return str(answer["error"]["reason"])


def test_two_people_agree_across_a_kill_and_neither_is_who_wants_it(site: tuple[Up, list[str]]) -> None:
    up, arguments = site
    target = up.fixture / "srv/app/data/app.db"
    call = held(up, "rm -f data/app.db", "file.delete:/srv/app/data/app.db")
    for nobody, why in (("janitor", "OWN_APPROVAL"), ("ada", "NOT_APPROVER")):
        code, refused = approve(up, call, nobody)
        assert (code, reason(refused)) == (3, why)
    code, first = approve(up, call, "grace", "--comment", "checked")
    assert (code, first["status"], first["missing"], first["call"]) == (0, "pending", 1, None)
    up.stop(signal.SIGKILL)
    up = start_up(up.data, up.fixture, *arguments)
    try:
        _, again = approve(up, call, "grace")
        assert reason(again) == "NOT_APPROVER"
        shown = up.cmdop("approvals", "show", call["approval_id"]).stdout
        assert "1 of 2 approved (grace); 1 more of anybody else" in shown, shown
        assert "approved by grace" in shown and "can be taken back" in shown
        assert target.exists()
        code, second = approve(up, call, "linus")
        assert (code, second["call"]["outcome"]) == (0, "applied"), second
        assert not target.exists()
        code, late = approve(up, call, "barbara")
        assert reason(late) == "APPROVAL_NOT_PENDING", "an approval is used once"
    finally:
        up.stop()


def test_a_question_goes_from_group_to_group(site: tuple[Up, list[str]]) -> None:
    up, _ = site
    call = held(up, "rm -f logs/app.log", "file.delete:/srv/app/logs/app.log")
    assert reason(approve(up, call, "barbara")[1]) == "NOT_APPROVER"
    code, escalated = up.call("approvals", "escalate", call["approval_id"], "--user", "grace", "--comment", "not sure")
    assert (code, escalated["quorums"][0]["group"]) == (0, "leads")
    assert reason(approve(up, call, "grace")[1]) == "NOT_APPROVER"
    code, answer = approve(up, call, "barbara")
    assert (code, answer["call"]["outcome"]) == (0, "applied"), answer


def test_what_a_person_modifies_is_another_call(site: tuple[Up, list[str]]) -> None:
    up, _ = site
    before = held(up, "touch logs/one", "file.create:/srv/app/logs/one")
    call = held(up, "rm -f logs/app.log", "file.delete:/srv/app/logs/app.log")
    narrower = ("--arg", "command=rm -f logs/app.log.1.gz", "--expect", "file.delete:/srv/app/logs/app.log.1.gz")
    code, answer = up.call("approvals", "modify", call["approval_id"], "--user", "grace", *narrower)
    new = answer["call"]
    assert (code, answer["void_cause"], new["replaces"]) == (4, "modified", call["call_id"]), answer
    _, old = up.call("calls", "show", call["call_id"])
    assert (old["outcome"], reason(old), old["replaced_by"]) == ("not_applied", "CALL_MODIFIED", new["call_id"])
    _, seen = up.call("approvals", "show", new["approval_id"])
    assert [one["call_id"] for one in seen["before"]] == [call["call_id"], before["call_id"]]
    assert [effect["target"] for effect in seen["diff"]["effects"]] == ["/srv/app/logs/app.log.1.gz"]
    assert reason(approve(up, new, "grace")[1]) == "NOT_APPROVER", "who wrote it does not approve it"
    code, answer = approve(up, new, "linus")
    assert (code, answer["call"]["outcome"]) == (0, "applied"), answer
    logs = up.fixture / "srv/app/logs"
    assert (logs / "app.log").exists() and not (logs / "app.log.1.gz").exists()


def test_what_cannot_be_taken_back_is_approved_by_its_name(up: Up) -> None:
    call = held(up, "apt-get remove -y nginx", "package.remove:nginx")
    _, approval = up.call("approvals", "show", call["approval_id"])
    assert (approval["irreversible"], approval["confirm"]) == (["package.remove:nginx"], "nginx")
    shown = up.cmdop("approvals", "show", call["approval_id"]).stdout
    assert "cannot be taken back: package.remove:nginx" in shown
    assert "--confirm nginx" in shown
    for typed in ((), ("--confirm", "nginy")):
        code, refused = approve(up, call, "grace", *typed)
        assert (code, reason(refused)) == (2, "CONFIRMATION_REQUIRED")
    _, answer = approve(up, call, "grace", "--confirm", "nginx")
    assert answer["status"] in ("approved", "used"), answer


def test_what_needs_no_confirmation_says_so(up: Up) -> None:
    call = held(up, "touch logs/three", "file.create:/srv/app/logs/three")
    code, refused = approve(up, call, "grace", "--confirm", "web")
    assert (code, reason(refused)) == (2, "INVALID_ACTION"), refused
    assert "there is nothing to confirm" in refused["error"]["message"]
    code, answer = approve(up, call, "grace")
    assert (code, answer["call"]["outcome"]) == (0, "applied"), answer


def test_to_terminate_without_a_run_is_refused_and_changes_nothing(up: Up) -> None:
    call = held(up, "touch logs/two", "file.create:/srv/app/logs/two")
    _, refused = up.call("approvals", "terminate", call["approval_id"])
    assert reason(refused) == "INVALID_ACTION"
    code, rejected = up.call("approvals", "reject", call["approval_id"])
    assert (code, rejected["call"]["outcome"]) == (0, "not_applied")
