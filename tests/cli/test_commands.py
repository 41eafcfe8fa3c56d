"""The command line without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmdop.cli import main
from cmdop.cli.call import typed
from cmdop.cli.output import shown


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "string", "5"),
        ("5", None, "5"),
        ("5", "integer", 5),
        ("true", "boolean", True),
        ('{"A": "1"}', "object", {"A": "1"}),
        ("five", "integer", "five"),
        ("5", ["string", "null"], "5"),
    ],
)
def test_arguments_have_the_type_of_their_schema(text: str, kind: str | list[str] | None, value: object) -> None:
    assert typed(text, kind) == value


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "--no-such-option"]) == 2
    assert "no-such-option" in "".join(capsys.readouterr())


def test_a_call_without_tool_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["remedy"]["kind"] == "fix_arguments"


def test_json_that_does_not_parse_is_a_typed_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.json").write_text('{"tool": ')
    assert main(["call", "--from", str(tmp_path / "call.json"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["reason"] == "MALFORMED_JSON"
    assert error["remedy"]["kind"] == "fix_arguments"


def test_json_of_another_shape_names_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.json").write_text('{"tool": 1, "host": 2, "extra": 3}')
    assert main(["call", "--from", str(tmp_path / "call.json"), "--json"]) == 2
    violations = json.loads(capsys.readouterr().out)["error"]["violations"]
    assert {violation["pointer"] for violation in violations} == {"/tool", "/host", "/extra"}


def test_a_server_that_is_not_there_exits_7(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hosts", "--server", "127.0.0.1:1", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "UNREACHABLE"


def test_the_version_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"


def test_text_cannot_draw_on_the_terminal() -> None:
    assert shown("a\x1b[2Jb\u202ec\r").plain == "a\\x1b[2Jb\\u202ec\\x0d"
