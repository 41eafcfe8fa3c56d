"""Which policy a server decides by, as an operator chooses it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

WRITE = ("call", "files.write", "--host", "local", "--arg", "path=/srv/app/new.txt", "--arg", "content=x")


def refusal(answer: dict[str, Any]) -> tuple[str, list[str]]:
    """Reason and policies of a refused call."""
    return answer["error"]["reason"], [policy["id"] for policy in answer["error"].get("policies", [])]


def until(holds: Callable[[], bool], deadline_s: float = 30) -> None:
    """Waits until something that must happen soon has happened."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def write(up: Up, *more: str) -> tuple[int, dict[str, Any]]:
    """One call that changes a file in the workspace."""
    return up.call(*WRITE, *more)


def test_a_pack_is_chosen_by_its_name(tmp_path: Path) -> None:
    up = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"), "--policy", "read-only")
    try:
        code, refused = write(up)
        assert (code, *refusal(refused)) == (3, "POLICY_DENIED", ["read_only.files"])
        code, _ = up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
        assert code == 0
        assert not (up.fixture / "srv/app/new.txt").exists()
    finally:
        up.stop()


def test_a_file_beside_a_pack_and_a_label_of_the_operator(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    # The host says of itself that it is a test machine; the operator knows better.
    (data / "entities.toml").write_text('[hosts.local]\nenv = "production"\n')
    policy = tmp_path / "mine.cedar"
    policy.write_text(
        '@id("mine.production")\n@reason("Not in production.")\n'
        'forbid (principal, action in Action::"write", resource is Path)\n'
        'when { context.host.hasTag("env") && context.host.getTag("env") == "production" };\n'
    )
    arguments = ("--policy", "workspace", "--policy", str(policy), "--label", "env=test")
    up = start_up(data, make_fixture(tmp_path / "fixture"), *arguments)
    try:
        code, refused = write(up)
        assert (code, *refusal(refused)) == (3, "POLICY_DENIED", ["mine.production"])
        _, hosts = up.call("hosts")
        assert hosts[0]["labels"]["env"] == "production"
    finally:
        up.stop()


DELETE = (
    "call", "terminal.exec", "--host", "local", "--arg", "command=rm -f logs/app.log", "--arg", "cwd=/srv/app",
    "--expect", "file.delete:/srv/app/logs/app.log", "--agent", "janitor", "--intent", "make room",
)  # fmt: skip
FROZEN_FILES = (
    '@id("mine.files")\n@reason("No files today.")\nforbid (principal, action in Action::"write", resource);\n'
)


def with_files(tmp_path: Path) -> tuple[Path, Path]:
    """A data directory with the shipped policy as a file of its own, and that file."""
    data = tmp_path / "data"
    (data / "policies").mkdir(parents=True)
    shipped = Path(__file__).parents[2] / "core_rs/policy/src/cedar/workspace.cedar"
    policy = data / "policies" / "site.cedar"
    policy.write_text(shipped.read_text())
    return data, policy


def test_a_broken_policy_is_not_taken_and_the_old_one_goes_on(tmp_path: Path) -> None:
    data, policy = with_files(tmp_path)
    good = policy.read_text()
    up = start_up(data, make_fixture(tmp_path / "fixture"))
    try:
        _, before = up.call("policy", "show")
        policy.write_text(good + "\npermit (principal, action, ressource);\n")
        line = policy.read_text().splitlines().index("permit (principal, action, ressource);") + 1
        code, answer = up.call("policy", "reload")
        assert (code, answer["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
        assert f"{policy}:{line}:" in answer["error"]["message"]
        assert up.call("policy", "show")[1] == before
        assert write(up)[0] == 0, "what was permitted still is"
        policy.write_text(good + FROZEN_FILES)
        code, after = up.call("policy", "reload")
        assert code == 0
        assert after["version"] != before["version"]
        code, refused = write(up, "--key", "again")
        assert (code, *refusal(refused)) == (3, "POLICY_DENIED", ["mine.files"])
        assert refused["decision"]["policy_version"] == after["version"], "every decision says by which policy"
    finally:
        up.stop()


def test_a_signal_reloads_and_says_so_in_one_line(tmp_path: Path) -> None:
    data, policy = with_files(tmp_path)
    with (tmp_path / "stderr").open("w") as errors:
        up = start_up(data, make_fixture(tmp_path / "fixture"), stderr=errors)

    def said(count: int) -> list[str]:
        lines: list[str] = []

        def is_said() -> bool:
            lines[:] = [line for line in (tmp_path / "stderr").read_text().splitlines() if "policy" in line]
            return len(lines) >= count

        until(is_said)
        return lines

    try:
        policy.write_text(policy.read_text() + FROZEN_FILES)
        up.process.send_signal(signal.SIGHUP)
        version = up.call("policy", "show")[1]["version"] if said(1) else ""
        assert said(1)[0].startswith(f"cmdop: decides by policy {version[:16]}")
        assert write(up)[0] == 3
        policy.write_text("permit (")
        up.process.send_signal(signal.SIGHUP)
        assert f"the policy stays as it was: {policy}:1:" in said(2)[1]
        assert write(up, "--key", "again")[0] == 3
        assert up.process.poll() is None
    finally:
        up.stop()


def test_what_waits_for_a_person_is_void_under_another_policy(tmp_path: Path) -> None:
    data, policy = with_files(tmp_path)
    up = start_up(data, make_fixture(tmp_path / "fixture"))
    try:
        code, held = up.call(*DELETE)
        assert (code, held["state"]) == (4, "diff_held"), held
        # One that only gained a comment is another version, and nobody approved under that.
        policy.write_text(policy.read_text() + "\n// reviewed\n")
        assert up.call("policy", "reload")[0] == 0
        until(lambda: up.call("calls", "show", held["call_id"])[1]["outcome"] is not None)
        _, voided = up.call("calls", "show", held["call_id"])
        assert (voided["outcome"], voided["error"]["reason"]) == ("not_applied", "APPROVAL_VOID")
        code, answer = up.call("approvals", "approve", held["approval_id"])
        assert (code, answer["error"]["reason"]) == (2, "APPROVAL_NOT_PENDING")
        assert (up.fixture / "srv/app/logs/app.log").exists()
    finally:
        up.stop()


def test_an_approval_given_before_a_restart_under_another_policy_is_void(tmp_path: Path) -> None:
    data, policy = with_files(tmp_path)
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(data, fixture)
    _, held = up.call(*DELETE)
    up.stop(signal.SIGKILL)
    policy.write_text(policy.read_text() + "\n// reviewed\n")
    up = start_up(data, fixture)
    try:
        _, answer = up.call("approvals", "approve", held["approval_id"])
        assert answer["error"]["reason"] == "APPROVAL_NOT_PENDING", "it is void since the start"
        _, call = up.call("calls", "show", held["call_id"])
        assert (call["outcome"], call["error"]["reason"]) == ("not_applied", "APPROVAL_VOID"), call
        assert (fixture / "srv/app/logs/app.log").exists()
    finally:
        up.stop()


def test_an_agent_that_is_lowered_is_asked_from_the_reload_on(tmp_path: Path) -> None:
    data, policy = with_files(tmp_path)
    levels = data / "autonomy.toml"
    levels.write_text('[agents]\nwriter = "auto"\n')
    by_writer = (
        "call",
        "files.write",
        "--host",
        "local",
        "--agent",
        "writer",
        "--intent",
        "note it",
        "--arg",
        "content=x",
    )
    up = start_up(data, make_fixture(tmp_path / "fixture"))
    try:
        assert up.call(*by_writer, "--arg", "path=/srv/app/a.txt")[0] == 0, "nobody is asked"
        # A broken file changes nothing, nor does any other that is read with it.
        levels.write_text('[agents]\nwriter = "root"\n')
        code, answer = up.call("policy", "reload")
        assert (code, answer["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
        assert f"{levels}:2:" in answer["error"]["message"]
        levels.write_text("[agents]\nwriter =\n")
        assert f"{levels}:2:" in up.call("policy", "reload")[1]["error"]["message"]
        levels.write_text('[agents]\nwriter = "ask"\n')
        good = policy.read_text()
        policy.write_text("permit (")
        assert up.call("policy", "reload")[0] == 2
        assert up.call("policy", "show")[1]["levels"] == {"default": "ask", "agents": {"writer": "auto"}}
        policy.write_text(good)
        done = up.cmdop("policy", "reload")
        assert done.returncode == 0 and "levels: writer ask, other agents ask" in done.stdout, done.stdout
        code, held = up.call(*by_writer, "--arg", "path=/srv/app/b.txt")
        assert (code, held["state"], held["decision"]["level"]) == (4, "diff_held", "ask"), held
        # What is held stays so when the level rises again, and its approval holds.
        levels.write_text('[agents]\nwriter = "auto"\n')
        assert up.call("policy", "reload")[0] == 0
        assert up.call("calls", "show", held["call_id"])[1]["state"] == "diff_held"
        assert up.call("approvals", "approve", held["approval_id"])[0] == 0
        assert (up.fixture / "srv/app/b.txt").exists()
    finally:
        up.stop()
