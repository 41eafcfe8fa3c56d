"""`cmdop policy decide`: one verdict a line, in order, without a server."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cmdop.cli import main

KEYS = {"id", "verdict", "effects", "policies", "reason", "unanalysable"}


def decided(lines: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    """What the command prints about these lines; a text stands as it is."""
    file = tmp_path / "commands.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    assert main(["policy", "decide", "--commands", str(file), *more]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_verdict_has_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = decided(
        [
            {"id": "look", "command": "ls -la"},
            {"id": "try", "command": "rm -rf build"},
            {"id": "contact", "command": "curl -s https://example.com/x"},
            {"id": "floor", "command": "rm -rf /"},
            {"id": "unknown", "command": "./cleanup.sh"},
            {"id": "malformed", "command": "echo 'x"},
        ],
        tmp_path,
        capsys,
    )
    assert all(set(each) == KEYS and each["reason"] for each in found)
    assert [(each["id"], each["verdict"]) for each in found] == [
        ("look", "allow"),
        ("try", "preview"),
        ("contact", "ask"),
        ("floor", "deny"),
        ("unknown", "preview"),
        ("malformed", "deny"),
    ]
    by_id = {each["id"]: each for each in found}
    assert by_id["floor"]["policies"][0] == "floor.root"
    assert by_id["floor"]["effects"] == [{"kind": "file.delete", "target": "/", "certain": True}]
    assert by_id["floor"]["unanalysable"] is None
    assert "cleanup.sh" in by_id["unknown"]["unanalysable"]


def test_a_bad_line_is_told_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"id": 1, "command": "ls"},
        "no json",
        "[1]",
        "",
        {"id": 5},
        {"id": 6, "command": 7},
        {"id": 7, "command": "ls", "cwd": "relative"},
        {"id": 8, "command": "ls", "env": {"A": 1}},
        "[" * 100_000,
        {"id": 10, "command": "ls", "extra": True, "context": {"argv": ["ls"]}},
    ]
    found = decided(lines, tmp_path, capsys)
    assert len(found) == len(lines)
    assert [each.get("verdict") for each in found] == ["allow", *[None] * 8, "allow"]
    assert [each["id"] for each in found] == [1, None, None, None, 5, 6, 7, 8, None, 10]
    assert all(f"line {number}:" in each["error"] for number, each in enumerate(found, 1) if "error" in each)


def test_directory_environment_and_host_facts_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"id": 1, "command": "mkdir x"},
        {"id": 2, "command": "mkdir x", "cwd": "/opt"},
        {"id": 3, "command": "mkdir $D/x", "env": {"D": "/opt"}},
        {"id": 4, "command": "ls", "env": {"LD_PRELOAD": "/tmp/x.so"}},
    ]
    assert [each["verdict"] for each in decided(lines, tmp_path, capsys)] == ["allow", "deny", "deny", "preview"]
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps({"name": "web-1", "workspaces": ["/opt"], "home": "/opt"}))
    found = decided(lines, tmp_path, capsys, "--host-facts", str(facts))
    assert [each["verdict"] for each in found] == ["allow", "allow", "allow", "preview"]
    facts.write_text(json.dumps({"capabilities": []}))
    found = decided(lines, tmp_path, capsys, "--host-facts", str(facts))
    assert [each["verdict"] for each in found] == ["preview", "deny", "deny", "preview"]


OF_A_RUN = """
@id("run.all") @reason("For the test.") permit (principal, action, resource);
@id("run.made") @reason("Agents delete what they made.")
forbid (principal is Agent, action == Action::"file.delete", resource) unless { context.made };
@id("run.copy") @decision("require_approval") @reason("Nothing else holds it.")
forbid (principal, action == Action::"file.rename", resource) when { context.only_copy };
@id("run.failed") @reason("Too much failed.")
forbid (principal, action == Action::"file.create", resource) when { context.failed > 2 };
@id("run.denials") @decision("require_approval") @reason("Too much was refused.")
forbid (principal, action == Action::"file.create", resource) when { context.denials > 1 };
"""


def test_what_a_run_did_before_is_supposed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, facts = tmp_path / "own.cedar", tmp_path / "host.json"
    own.write_text(OF_A_RUN)
    moved = {"/workspace/app.db": "/workspace/data/app.db"}
    lines = [
        {"id": "made", "command": "rm made"},
        {"id": "not made", "command": "rm other"},
        {"id": "a line's own", "command": "rm other", "context": {"session": {"made": ["/workspace/other"]}}},
        {"id": "copy", "command": "mv -n app.db kept.db"},
        {"id": "no copy", "command": "mv -n app.db kept.db", "context": {"session": {"moved": {}}}},
        {"id": "create", "command": "mkdir new"},
        {"id": "failed", "command": "mkdir new", "context": {"session": {"failed": 3}}},
        {"id": "denials", "command": "mkdir new", "context": {"session": {"denials": 2}}},
        {"id": "bound", "command": "mkdir new", "context": {"session": {"denied": ["file.create:/workspace/new"]}}},
        {
            "id": "a part of what a person refused",
            "command": "mkdir new/a",
            "context": {"session": {"denied": [{"effect": "file.create:/workspace/new/**", "by_person": True}]}},
        },
        {"id": "noted", "command": "mkdir new", "context": {"weather": "fine"}},
        {"id": "wrong", "command": "mkdir new", "context": {"session": {"denied": ["file.create"]}}},
        {"id": "wrong", "command": "mkdir new", "context": {"session": {"made": ["here"]}}},
    ]
    facts.write_text(json.dumps({"session": {"made": ["/workspace/made"], "moved": moved}}))
    found = decided(lines, tmp_path, capsys, "--profile", str(own), "--host-facts", str(facts))
    verdicts = {each["id"]: (each.get("verdict"), each.get("policies")) for each in found}
    assert verdicts["made"][0] == "preview", "what policy permits by it alone is looked at first"
    assert verdicts["not made"] == ("deny", ["run.made"])
    assert verdicts["a line's own"][0] == "preview"
    assert "run.copy" in verdicts["copy"][1] and "run.copy" not in verdicts["no copy"][1], verdicts
    assert (verdicts["create"][0], verdicts["noted"][0]) == ("allow", "allow")
    assert verdicts["failed"] == ("deny", ["run.failed"])
    assert (verdicts["denials"][0], "run.denials" in verdicts["denials"][1]) == ("preview", True), "held with its diff"
    assert verdicts["bound"] == ("deny", ["session.denied"])
    part = verdicts["a part of what a person refused"]
    assert (part[0], "session.rejected_part" in part[1]) == ("preview", True)
    assert ["error" in each for each in found[-2:]] == [True, True]
    assert "`file.create` is no effect" in found[-2]["error"] and "no absolute path" in found[-1]["error"]
    facts.write_text(json.dumps({"session": {"maed": []}}))
    assert main(["policy", "decide", "--commands", "/dev/null", "--host-facts", str(facts)]) == 2
    assert "session.maed" in capsys.readouterr().err


def test_a_profile_is_a_pack_or_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.cedar"
    own.write_text('@id("own.none") @reason("Nothing here.") forbid (principal, action, resource);')
    [found] = decided([{"id": 1, "command": "ls"}], tmp_path, capsys, "--profile", str(own))
    assert (found["verdict"], found["policies"]) == ("deny", ["own.none"])
    [found] = decided([{"id": 1, "command": "mkdir x"}], tmp_path, capsys, "--profile", "read-only")
    assert found["verdict"] == "deny"
    assert main(["policy", "decide", "--commands", "/dev/null", "--profile", "no-such-pack"]) == 2
    assert "no-such-pack" in capsys.readouterr().err
    own.write_text("permit (")
    assert main(["policy", "decide", "--commands", "/dev/null", "--profile", str(own)]) == 2
    assert "own.cedar:1" in capsys.readouterr().err.replace("\n", "")


def test_commands_come_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1, "command": "ls"}')))
    assert main(["policy", "decide", "--commands", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "allow"


def test_hostile_commands_are_decided_in_bounded_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        "$(" * 10_000,
        "{a," * 16,
        "a " * 30_000,
        "( " * 25,
        "case x in x) " * 20,
        "x" * 1_000_000,
        "\0",
        "<<E$[\t\t",
    ]
    began = time.monotonic()
    found = decided([{"id": at, "command": each} for at, each in enumerate(commands)], tmp_path, capsys)
    assert {each["verdict"] for each in found} <= {"deny", "preview"}
    assert time.monotonic() - began < 20
