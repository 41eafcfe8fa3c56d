"""What a person may type or feed wrongly: a typed error and exit 2, never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.live import Up

from cmdop import Client, v1
from cmdop.cli import main
from cmdop.errors import MalformedCallError

pytestmark = pytest.mark.timeout(180)


def cmdop(*arguments: bytes | str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command: list[bytes | str] = [sys.executable, "-m", "cmdop", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")} | (env or {})
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def read(tmp_path: Path, text: str | bytes, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (tmp_path / "call.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["call", "--from", str(tmp_path / "call.json"), "--json", "--server", "127.0.0.1:1"]) == 2
    told = json.loads(capsys.readouterr().out)
    shape = {"call_id", "outcome", "decision", "predicted", "declared", "observed", "side_effects", "scores", "result"}
    assert shape <= set(told)
    error: dict[str, object] = told["error"]
    assert error["reason"] == "MALFORMED_JSON"
    return error


@pytest.mark.parametrize(
    "place", ['{"tool": "%s"}', '{"arguments": {"path": ["%s"]}}', '{"arguments": {"%s": 1}}', '{"%s": 1}', '["%s"]']
)
def test_half_a_surrogate_pair_in_json_is_malformed(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = read(tmp_path, place % "\\ud800", capsys)
    assert "surrogate" in str(error["message"])


@pytest.mark.parametrize(
    ("text", "pointer"),
    [('{"tool": "a", "tool": "b"}', "/tool"), ('{"arguments": {"x": [{"y": 1, "y": 2}]}}', "/arguments/x/0/y")],
)
def test_a_key_that_stands_twice_is_malformed(
    text: str, pointer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = read(tmp_path, text, capsys)
    assert "stands twice" in str(error["message"])
    assert isinstance(error["remedy"], dict) and error["remedy"]["path"] == pointer


BAD_JSON: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "line 1 column 1"),
    "blank": ("\n \n", "line 1 column 1"),
    "unfinished": ('{\n  "tool": "files.read",\n', "line 3 column 0"),
    "trailing": ('{"tool": "a"}\n{}', "line 2 column 1"),
    "twice": ('{"tool": "a",\n "tool": "b"}', "line 2 column 7"),
    "not a number": ('{"arguments": {"x": NaN}}', "line 1 column 21"),
    "too large": ('{"arguments": {"x": 1e999}}', "line 1 column 25"),
    "not exact": ('{"arguments": {"x": ' + "9" * 30 + "}}", "line 1 column 50"),
    "nested": ('{"host": ' + "[" * 5000 + "]" * 5000 + "}", "line 1 column 73"),
    "not utf-8": (b'{"tool":\n"\xff"}', "line 2 column 2"),
    "byte order mark": ("\ufeff{}", "line 1 column 1"),
    "half a character": ('{"tool": "\\ud800"}', "line 1 column 17"),
    "syntax": ("{tool: 1}", "line 1 column 2"),
    "not an object": ("[1]", "the whole text: found [1], expected an object"),
    "unknown field": ('{"tool": "a", "too1": 1}', "/too1: found 1, expected no such field; did you mean `tool`?"),
}


def test_each_fault_of_json_is_told_apart_with_its_place_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}
    for name, (text, _) in BAD_JSON.items():
        error = read(tmp_path, text, capsys)
        remedy = error["remedy"]
        assert isinstance(remedy, dict)
        said[name] = str(error["message"])
        assert str(remedy["expected"]) in said[name]
    wrong = {name: said[name] for name, (_, place) in BAD_JSON.items() if place not in said[name]}
    assert not wrong
    assert len(set(said.values())) == len(said)


def test_json_that_nests_without_end_is_malformed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for levels in (900, 5000, 200_000):
        read(tmp_path, '{"tool": "a", "host": ' + "[" * levels + "]" * levels + "}", capsys)


@pytest.mark.parametrize("option", ["--arg", "--intent", "--host", "--expect", "--key"])
def test_an_argument_that_is_not_utf8_is_a_usage_error(option: str) -> None:
    done = cmdop("call", "files.read", "--json", option, b"path=\xff\xfe", "--server", "127.0.0.1:1")
    assert (done.returncode, done.stderr) == (2, "")
    assert "UTF-8" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("limit", ["-1", "0", "1001", "many"])
@pytest.mark.parametrize("noun", ["calls", "approvals"])
def test_a_limit_outside_its_range_is_a_usage_error(noun: str, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([noun, "list", f"--limit={limit}", "--json", "--server", "127.0.0.1:1"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["remedy"]["kind"] == "fix_arguments"
    assert main([noun, "list", f"--limit={limit}", "--server", "127.0.0.1:1"]) == 2
    assert "limit" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["", " "])
def test_an_agent_without_a_name_is_not_its_user(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["call", "files.list", "--host", "local", "--arg", "path=/", "--agent", name]
    assert main([*call, "--json", "--server", "127.0.0.1:1"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["reason"] == "INVALID_CONFIGURATION"
    assert "no name" in error["message"] and error["remedy"]["kind"] == "fix_arguments"


@pytest.mark.parametrize("command", [["call", "files.list", "--host", "local"], ["undo", "some-call"]])
def test_an_empty_key_is_not_taken_for_none(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--key", "", "--json", "--server", "127.0.0.1:1"]) == 2
    assert "empty --key" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_up_on_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    done = cmdop("up", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert done.returncode == 2, done.stderr
    assert "INVALID_CONFIGURATION" in done.stderr
    assert str(tmp_path / "data") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("server/permit.key", "short", "permit.key"),
        ("autonomy.toml", 'default = "ask"\n[agents]\ncleaner = "root"\n', "autonomy.toml:3"),
        ("autonomy.toml", '\ndefault = "free"\n', "autonomy.toml:2"),
        ("autonomy.toml", '\nlevels = "free"\n', "autonomy.toml:2"),
        ("autonomy.toml", "[agents]\nx =\n", "line 2"),
    ],
)
def test_a_broken_file_of_the_server_is_named(file: str, content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    done = cmdop("server", "--data", str(tmp_path), "--listen", "127.0.0.1:0")
    assert done.returncode == 2, done.stderr
    assert "INVALID_CONFIGURATION" in done.stderr
    assert named in done.stderr


def test_a_run_without_a_model_says_what_to_set() -> None:
    done = cmdop("run", "tidy up", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["reason"] == "INVALID_CONFIGURATION"
    assert "OPENAI_API_KEY" in error["message"]
    assert "OPENAI_API_KEY" in error["remedy"]["expected"]


def test_a_bad_address_is_blamed_on_the_address() -> None:
    done = cmdop("hosts", "--json", "--server", "not an address")
    assert done.returncode == 2
    remedy = json.loads(done.stdout)["error"]["remedy"]
    assert "listen" not in remedy["path"]
    assert "CMDOP_ADDRESS" in remedy["expected"]


@pytest.mark.anyio
async def test_one_refused_call_does_not_break_the_list_for_everybody(up: Up) -> None:
    deep = '{"x":' + "[" * 5000 + "]" * 5000 + "}"
    for text in (deep, '{"path": "\\ud800"}', "{" + "x" * 20_000, '{"x": NaN}', '{"x": ' + "1" * 5000 + "}"):
        action = v1.Action(tool="files.read", host="local", intent="look", arguments_json=text)
        async with Client(up.address) as client:
            with pytest.raises(MalformedCallError):
                await client.calls.submit(v1.Proposal(action=action))
    code, listed = up.call("calls", "list")
    assert code == 0
    assert any(call["error"] and call["error"]["reason"] == "MALFORMED_JSON" for call in listed), "it is in the list"
    done = up.cmdop("calls", "list")
    assert done.returncode == 0
    assert re.fullmatch(r"(\d+ of these are abridged; `cmdop calls show` shows the whole of one\n)?", done.stderr)
    for call in listed[:5]:
        assert up.cmdop("calls", "show", call["call_id"]).returncode == 0
        assert up.cmdop("trace", "show", call["call_id"]).returncode == 0
        assert up.call("trace", "show", call["call_id"])[0] == 0


@pytest.mark.parametrize(
    ("streams", "code"), [("> /dev/full", 6), ("> /dev/full 2>&1", 6), (">&-", 0), ("2>&-", 0), ("<&-", 0)]
)
def test_what_cannot_be_written_to_or_read_is_no_traceback(up: Up, streams: str, code: int) -> None:
    command = f"{sys.executable} -m cmdop call files.list --host local --arg path=/srv/app --json {streams}"
    environment = os.environ | {"CMDOP_ADDRESS": up.address, "CMDOP_USER": "tester"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("could not be written" in done.stderr) == (streams == "> /dev/full")


@pytest.mark.parametrize(
    "command", ["tools --json", "hosts", "calls list", "approvals list --json", "errors", "doctor --json", "--help"]
)
def test_a_command_that_only_looks_leaves_nothing_unknown(up: Up, command: str) -> None:
    line = f"{sys.executable} -m cmdop {command} > /dev/full"
    environment = os.environ | {"CMDOP_ADDRESS": up.address, "CMDOP_USER": "tester"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("the output could not be written: ") and "calls list" not in done.stderr


@pytest.mark.parametrize(
    "encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_output_never_fails_for_its_characters(up: Up, encoding: dict[str, str]) -> None:
    environment = os.environ | {"CMDOP_ADDRESS": up.address, "CMDOP_USER": "tester"} | encoding
    name = f"{len(encoding)}.txt"
    write = ("call", "files.write", "--host", "local", "--arg", f"path=/srv/app/{name}", "--arg", "content=x")

    def cmdop(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "cmdop", *arguments]
        return subprocess.run(command, capture_output=True, timeout=60, env=environment, check=False)

    for arguments in (write, ("call", "files.read", "--host", "local", "--arg", f"path=/srv/app/{name}")):
        done = cmdop(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii() and b"Traceback" not in done.stderr
    (up.fixture / "srv/app" / name).write_text("na\u00efve \U0001f600")
    done = cmdop("call", "files.read", "--host", "local", "--arg", f"path=/srv/app/{name}", "--json")
    assert (done.returncode, done.stdout.isascii()) == (0, True), done.stderr
    assert json.loads(done.stdout)["result"]["content"] == "na\u00efve \U0001f600"


def test_a_server_that_cannot_say_that_it_is_ready_does_not_start(tmp_path: Path) -> None:
    command = f"{sys.executable} -m cmdop server --data {tmp_path / 'data'} --listen 127.0.0.1:0 > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "INVALID_CONFIGURATION  nobody can be told that it is ready" in done.stderr


def test_a_call_from_a_closed_standard_input_is_malformed(up: Up) -> None:
    command = f"{sys.executable} -m cmdop call --from - --server {up.address} <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_what_names_no_tool_is_not_given_an_intent(up: Up) -> None:
    code, call = up.call("call", "--from", "-", stdin="{}")
    assert code == 2
    assert call["intent"] == ""
