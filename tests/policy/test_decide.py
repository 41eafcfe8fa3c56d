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
