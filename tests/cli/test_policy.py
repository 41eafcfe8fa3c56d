"""The tools of those who write policies: check, explain, test, diff."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up

pytestmark = pytest.mark.timeout(180)

EXAMPLE = Path(__file__).parents[2] / "docs/policy/example"
LOOK = '@id("look")\n@reason("Look.")\npermit (principal, action in Action::"look", resource);\n'


def cmdop(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line; no server is needed, and none is there."""
    return subprocess.run(
        [sys.executable, "-m", "cmdop", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"CMDOP_ADDRESS": "127.0.0.1:1"},
        check=False,
    )


def answer(*arguments: str) -> tuple[int, Any]:
    """Exit code and the JSON that was printed."""
    done = cmdop(*arguments, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("pack", ["workspace", "read-only", "production", "ci"])
def test_the_packs_have_nothing_to_mend(pack: str) -> None:
    code, found = answer("policy", "check", pack)
    assert (code, found["findings"], found["error"]) == (0, [], None)


def test_a_broken_policy_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "site.cedar"
    file.write_text(LOOK + 'permit (principal, action, resource in Path::"/etc/");\n')
    code, found = answer("policy", "check", str(file))
    assert (code, found["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
    assert found["error"]["message"].startswith(f"{file}:4: a policy has no @id")


def test_rules_that_never_decide_are_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "site.cedar"
    file.write_text(
        LOOK
        + '@id("key")\n@reason("R.")\n'
        + 'permit (principal, action in Action::"write", resource in PathClass::"credentials");\n'
        + '@id("hosts")\n@reason("R.")\n'
        + 'permit (principal, action == Action::"file.read", resource == Path::"/etc/hosts");\n'
    )
    code, found = answer("policy", "check", str(file))
    assert code == 5
    assert [(it["kind"], it["file"], it["line"], it["id"]) for it in found["findings"]] == [
        ("floor", str(file), 4, "key"),
        ("shadowed", str(file), 7, "hosts"),
    ]
    assert f"{file}:4: floor: policy `key`" in cmdop("policy", "check", str(file)).stdout


def test_an_unknown_pack_is_a_usage_error() -> None:
    code, found = answer("policy", "check", "prod")
    assert code == 2
    assert "production" in found["error"]["message"]


def test_a_command_is_explained_effect_by_effect() -> None:
    code, told = answer(
        "policy", "explain", "--command", "rm -rf /etc/nginx; ls", "--agent", "bot", "--cwd", "/srv/app"
    )
    assert (code, told["word"]) == (3, "deny")
    said = {it["effect"]: (it["word"], [policy["id"] for policy in it["policies"]]) for it in told["effects"]}
    assert said["file.delete:/etc/nginx"] == ("deny", ["workspace.outside"])
    assert said["file.read:/srv/app"][0] == "allow"
    assert told["nearest"] == "file.delete:/srv/app/*"
    # What is said to be allowed instead is.
    code, near = answer("policy", "explain", "--effect", told["nearest"], "--agent", "bot", "--workspace", "/srv/app")
    assert (code, near["word"]) in ((0, "allow"), (0, "depends"))


def test_what_cannot_be_known_is_said_and_previewed() -> None:
    code, told = answer("policy", "explain", "--command", "./deploy.sh", "--cwd", "/srv/app")
    assert (code, told["word"]) == (0, "preview")
    assert told["unanalysable"]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--command", "ls", "--effect", "x"), ("--effect", "nonsense"), ("--command", "ls", "--level", "god")],
)
def test_what_cannot_be_explained_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert cmdop("policy", "explain", *arguments).returncode == 2


def test_the_cases_of_the_example_hold() -> None:
    code, tried = answer("policy", "test", str(EXAMPLE / "cases.toml"))
    assert code == 0, [it for it in tried if not it["holds"]]
    assert len(tried) == 7


def test_a_case_that_does_not_hold_is_named_by_file_and_line(tmp_path: Path) -> None:
    for name in ("site.cedar", "entities.toml"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    text = (EXAMPLE / "cases.toml").read_text().replace('by = "site.database"', 'by = "site.databases"')
    (tmp_path / "cases.toml").write_text(text.replace('expect = "preview"', 'expect = "allow"'))
    done = cmdop("policy", "test", str(tmp_path / "cases.toml"))
    assert done.returncode == 5
    first, second, total = done.stdout.splitlines()
    line = text.splitlines().index("[[case]]") + 1
    assert first.startswith(f"{tmp_path}/cases.toml:{line}: nobody deletes the database: ")
    assert "expected deny by site.databases, is deny by" in first
    assert "expected allow, is preview" in second
    assert total == "5 of 7 cases hold"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[[case", "cases.toml"),
        ('[[case]]\neffect = "x"\nexpect = "maybe"', "cases.toml:1"),
        ("case = []", "cases.toml"),
    ],
)
def test_broken_cases_are_named(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "cases.toml").write_text(text)
    code, found = answer("policy", "test", str(tmp_path / "cases.toml"))
    assert (code, found["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
    assert where in found["error"]["message"]


OF_A_RUN = """@id("run.all") @reason("For the test.")
permit (principal, action, resource);
@id("run.made") @reason("Agents delete what they made.")
forbid (principal is Agent, action == Action::"file.delete", resource) unless { context.made };
@id("run.copy") @decision("require_approval") @reason("Nothing else holds it.")
forbid (principal, action == Action::"file.modify", resource) when { context.only_copy };
"""
CASES = """policy = ["run.cedar"]
[where]
agent = "janitor"
level = "auto"
workspaces = ["/srv/app"]
session.made = ["/srv/app/made", "/srv/app/scratch/"]
[[case]]
effect = "file.delete:/srv/app/made"
expect = "depends"
[[case]]
effect = "file.delete:/srv/app/other"
expect = "deny"
by = "run.made"
[[case]]
command = "rmdir scratch"
expect = "preview"
[[case]]
effect = "file.modify:/srv/app/app.db"
session.moved = { "/srv/app/app.db" = "/srv/app/data/app.db" }
expect = "ask"
by = "run.copy"
[[case]]
effect = "file.delete:/srv/app/made"
session.denied = ["file.delete:/srv/app/made"]
expect = "deny"
by = "session.denied"
[[case]]
effect = "file.delete:/srv/app/made"
session.made = []
expect = "deny"
"""


def test_cases_and_explanations_suppose_what_a_run_did_before(tmp_path: Path) -> None:
    (tmp_path / "run.cedar").write_text(OF_A_RUN)
    (tmp_path / "cases.toml").write_text(CASES)
    code, tried = answer("policy", "test", str(tmp_path / "cases.toml"))
    assert (code, [it["holds"] for it in tried]) == (0, [True] * 6), tried
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps({"workspaces": ["/srv/app"], "session": {"made": ["/srv/app/made"]}}))
    explain = ("policy", "explain", "--policy", str(tmp_path / "run.cedar"), "--agent", "janitor")
    for what in (("--effect", "file.delete:/srv/app/made"), ("--command", "rm made", "--cwd", "/srv/app")):
        code, refused = answer(*explain, *what)
        assert code == 3, refused
        code, found = answer(*explain, *what, "--host-facts", str(facts))
        assert code == 0, found
    (tmp_path / "cases.toml").write_text(CASES.replace("session.made = []", "session.made = ['here']"))
    code, found = answer("policy", "test", str(tmp_path / "cases.toml"))
    assert (code, found["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
    assert "`here` is no absolute path" in found["error"]["message"]


WRITE = ("call", "files.write", "--host", "local", "--arg", "content=x")


def test_recorded_calls_are_explained_and_decided_anew(fresh_up: Up) -> None:
    code, wrote = fresh_up.call(*WRITE, "--arg", "path=/srv/app/new.txt")
    assert code == 0
    code, refused = fresh_up.call(*WRITE, "--arg", "path=/etc/new.txt", "--agent", "bot", "--intent", "try")
    assert code == 3
    read = ("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
    assert fresh_up.call(*read)[0] == 0
    code, told = fresh_up.call("policy", "explain", refused["call_id"])
    assert (code, told["word"]) == (3, "deny")
    assert [policy["id"] for it in told["effects"] for policy in it["policies"]][:1] == ["workspace.outside"]
    code, told = fresh_up.call("policy", "explain", wrote["call_id"], "--policy", "read-only")
    assert (code, told["word"]) == (3, "deny")
    # The server goes on; its ledger is only read.
    before = {path: path.stat().st_mtime_ns for path in (fresh_up.data / "server" / "log").iterdir()}
    code, same = fresh_up.call("policy", "diff", "workspace", "workspace", "--over", str(fresh_up.data))
    assert (code, same["decided"], same["differing"]) == (0, 3, [])
    code, found = fresh_up.call("policy", "diff", "workspace", "read-only", "--over", str(fresh_up.data))
    assert (code, found["decided"]) == (5, 3)
    differing = [(it["call_id"], it["old"]["word"], it["new"]) for it in found["differing"]]
    assert differing == [(wrote["call_id"], "allow", {"word": "deny", "policies": ["read_only.files"]})]
    assert before == {path: path.stat().st_mtime_ns for path in (fresh_up.data / "server" / "log").iterdir()}
    assert fresh_up.call("policy", "diff", "workspace", "ci", "--over", str(fresh_up.fixture))[0] == 2
