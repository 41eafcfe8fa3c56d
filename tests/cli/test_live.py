"""The command line against a real server and host: shapes and exit codes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from tests.live import Up

pytestmark = pytest.mark.timeout(180)

SHAPE = {
    "call_id",
    "outcome",
    "decision",
    "predicted",
    "declared",
    "observed",
    "side_effects",
    "scores",
    "result",
    "error",
}


def new_file(up: Up) -> str:
    """A file in the workspace of the fixture."""
    path = f"/srv/app/{uuid.uuid4().hex[:8]}.txt"
    code, call = up.call("call", "files.write", "--host", "local", "--arg", f"path={path}", "--arg", "content=hello")
    assert code == 0, call
    return path


def exists(up: Up, path: str) -> bool:
    code, call = up.call("call", "files.read", "--host", "local", "--arg", f"path={path}")
    assert code == 0 or call["error"]["reason"] == "PATH_NOT_FOUND", call
    return code == 0


def test_a_call_that_only_looks_is_done(up: Up) -> None:
    code, call = up.call("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
    assert code == 0
    assert set(call) >= SHAPE
    assert call["outcome"] == "applied"
    assert call["result"]["content"] == "kernel\n"
    assert call["decision"]["effect"] == "allow"
    assert call["scores"]["validity"] == 1
    assert call["side_effects"] == []


def test_a_delete_is_undone_once_and_said_so(up: Up) -> None:
    path = new_file(up)
    code, call = up.call(
        *("call", "terminal.exec", "--host", "local", "--arg", f"command=rm {path}", "--arg", "cwd=/srv/app"),
        *("--arg", "timeout_s=20", "--expect", f"file.delete:{path}", "--intent", "tidy up"),
    )
    assert code == 0 and not exists(up, path), call
    code, undone = up.call("undo", call["call_id"])
    assert code == 0, undone
    assert [(effect["kind"], effect["target"]) for effect in undone["observed"]] == [("file.create", path)]
    assert undone["side_effects"] == []
    assert exists(up, path)
    code, again = up.call("undo", call["call_id"])
    assert code != 0
    assert again["error"]["reason"] == "NOT_RESTORABLE"
    assert undone["call_id"] in again["error"]["message"]


def test_what_native_tools_make_move_and_open_is_undone(up: Up) -> None:
    path, other, fixture = new_file(up), new_file(up), up.fixture
    tree = f"{path}.tree"
    (fixture / tree[1:] / "deep").mkdir(parents=True)
    (fixture / tree[1:] / "deep/leaf").write_text("leaf")

    def seen() -> list[tuple[str, int, int, int, bytes]]:
        found = sorted((fixture / "srv/app").rglob("*"))
        stats = [(file, file.lstat()) for file in found]
        return [
            (str(file), stat.st_ino, stat.st_mode, stat.st_mtime_ns, b"" if file.is_dir() else file.read_bytes())
            for file, stat in stats
        ]

    before = seen()
    for tool, *arguments in (
        ("files.chmod", f"path={path}", "mode=0600"),
        ("files.mkdir", f"path={path}.d/deep", "parents=1"),
        ("files.copy", f"from={path}", f"to={path}.copy"),
        ("files.move", f"from={path}", f"to={path}.moved"),
        ("files.move", f"from={tree}", f"to={tree}.moved"),
        ("files.copy", f"from={tree}", f"to={tree}.copy", "recursive=true"),
        ("files.move", f"from={path}", f"to={other}", "overwrite=true"),
    ):
        given = [word for argument in arguments for word in ("--arg", argument)]
        code, call = up.call("call", tool, "--host", "local", *given)
        assert (code, call["outcome"], call["side_effects"]) == (0, "applied", []), call
        assert all(effect["reversible"] for effect in call["observed"]), call
        assert seen() != before
        code, undone = up.call("undo", call["call_id"])
        assert (code, undone.get("outcome"), undone.get("side_effects")) == (0, "applied", []), json.dumps(undone)
        assert seen() == before, tool


def test_a_declared_delete_happens_and_is_observed(up: Up) -> None:
    path = new_file(up)
    code, call = up.call(
        *("call", "terminal.exec", "--host", "local", "--arg", f"command=rm {path}", "--arg", "cwd=/srv/app"),
        *("--arg", "timeout_s=20", "--expect", f"file.delete:{path}", "--intent", "tidy up"),
    )
    assert code == 0, call
    assert [(effect["kind"], effect["target"]) for effect in call["observed"]] == [("file.delete", path)]
    assert call["scores"] == {
        "validity": 1,
        "success": 1,
        "side_effects": 0,
        "severity": "none",
        "weight": 0,
        "clean": True,
    }
    assert not exists(up, path)


def test_a_call_may_come_as_json_on_standard_input(up: Up) -> None:
    action = {
        "tool": "files.list",
        "host": "local",
        "intent": "look",
        "arguments": {"path": "/srv/app"},
        "expect": [],
        "idempotency_key": uuid.uuid4().hex,
    }
    code, call = up.call("call", "--from", "-", stdin=json.dumps(action))
    assert code == 0
    assert "/srv/app/data" in {entry["path"] for entry in call["result"]["entries"]}


def test_a_whole_number_may_be_written_with_a_fraction_of_zero(up: Up) -> None:
    numbers = {"files.read": {"path": "/logs/system.log", "limit": 3.0}, "files.list": {"path": "/", "limit": 1e1}}
    for tool, arguments in numbers.items():
        document = {"tool": tool, "host": "local", "intent": "look", "arguments": arguments}
        code, call = up.call("call", "--from", "-", stdin=json.dumps(document))
        assert code == 0, call
    code, call = up.call(
        "call", "files.read", "--host", "local", "--arg", "path=/logs/system.log", "--arg", "limit=1.5"
    )
    assert (code, call["error"]["reason"]) == (2, "INVALID_ARGUMENTS"), call


def test_a_malformed_call_exits_2_with_every_fault(up: Up) -> None:
    code, call = up.call("call", "terminal.exec", "--host", "local", "--arg", "timeout_s=never")
    assert code == 2
    assert set(call) >= SHAPE
    assert call["error"]["remedy"]["kind"] == "fix_arguments"
    pointers = {violation["pointer"] for violation in call["error"]["violations"]}
    assert "/arguments/timeout_s" in pointers
    assert len(pointers) > 1


def test_an_unknown_tool_and_an_unknown_host_exit_2(up: Up) -> None:
    code, call = up.call("call", "files.shred", "--host", "local", "--arg", "path=/x")
    assert (code, call["error"]["reason"]) == (2, "UNKNOWN_TOOL")
    assert call["error"]["remedy"]["kind"] == "fix_arguments", "no tool is about that"
    code, call = up.call("call", "bash", "--host", "local", "--arg", "command=ls")
    other = {"kind": "use_tool", "name": "terminal.exec", "arguments": "same", "new_key": True}
    assert (code, call["error"]["remedy"]) == (2, other)
    code, call = up.call("call", "files.read", "--host", "nowhere", "--arg", "path=/x")
    assert (code, call["error"]["reason"]) == (2, "UNKNOWN_HOST")


def test_a_declaration_that_does_not_cover_the_command_exits_2(up: Up) -> None:
    path = new_file(up)
    code, call = up.call(
        "call", "terminal.exec", "--host", "local", "--arg", f"command=rm {path}", "--arg", "cwd=/srv/app"
    )
    assert (code, call["error"]["reason"]) == (2, "UNDECLARED_EFFECT")
    assert call["error"]["remedy"]["kind"] == "declare_effect"
    assert (call["decision"]["effect"], call["scores"]["validity"]) == (None, 0), "malformed, and nobody denied it"
    assert exists(up, path)


def executed(up: Up, command: str, *expect: str) -> tuple[int, dict[str, Any]]:
    flags = [flag for effect in expect for flag in ("--expect", effect)]
    return up.call(
        "call", "terminal.exec", "--host", "local", "--arg", f"command={command}", "--arg", "cwd=/srv/app", *flags
    )


def test_one_of_create_and_modify_is_enough_and_the_error_says_so(up: Up) -> None:
    name = uuid.uuid4().hex[:8]
    path = f"/srv/app/{name}"
    code, call = executed(up, f"echo hi > {name}")
    assert (code, call["error"]["reason"]) == (2, "UNDECLARED_EFFECT")
    assert f"either file.create:{path} or file.modify:{path}" in call["error"]["message"]
    assert "is enough" in call["error"]["message"]
    code, call = executed(up, f"echo hi > {name}", f"file.create:{path}")
    assert code == 0, call
    # The remedy as it is works, too, whether or not the file is there.
    action = {
        "tool": "terminal.exec",
        "host": "local",
        "arguments": {"command": f"echo ho > {name}", "cwd": "/srv/app"},
    }
    code, refused = up.call("call", "--from", "-", stdin=json.dumps(action))
    assert code == 2
    expect = [{"kind": e["kind"], "target": e["target"], "min_count": 0} for e in refused["error"]["remedy"]["effects"]]
    code, call = up.call("call", "--from", "-", stdin=json.dumps(action | {"expect": expect}))
    assert code == 0, call


def test_a_copy_a_move_and_a_link_need_declare_only_what_they_do(up: Up) -> None:
    path = new_file(up)
    for command, *expect in (
        (f"cp {path} {path}.copy", f"file.create:{path}.copy"),
        (f"mkdir {path}.d", f"file.create:{path}.d"),
        (f"cp {path} {path}.d", f"file.create:{path}.d/*"),
        (f"ln -s {path} {path}.link", f"file.create:{path}.link"),
        (f"cp -r {path}.d {path}.tree", f"file.create:{path}.tree/**"),
        (f"git -C {path}.d init sub", f"file.create:{path}.d/sub/**"),
    ):
        code, call = executed(up, command, *expect)
        assert code == 0, (command, call["error"])
    code, call = executed(up, f"mv {path}.copy {path}.moved", f"file.delete:{path}.copy", f"file.create:{path}.moved")
    if call["observed"] and "file.rename" in {effect["kind"] for effect in call["observed"]}:
        code, call = executed(
            up, f"mv {path}.copy {path}.moved", f"file.rename:{path}.copy", f"file.create:{path}.moved"
        )
    assert code == 0, call["error"]


def test_a_denied_call_exits_3_and_names_the_policy(up: Up) -> None:
    code, call = up.call(
        *("call", "terminal.exec", "--host", "local", "--agent", "cleaner", "--intent", "free space"),
        *("--arg", "command=rm -rf /logs", "--arg", "cwd=/srv/app", "--expect", "file.delete:/logs"),
    )
    assert code == 3, call
    assert call["outcome"] == "not_applied"
    assert call["decision"]["effect"] == "deny"
    assert call["decision"]["policies"]
    assert call["error"]["policies"][0]["reason"]
    assert call["error"]["remedy"] is not None
    assert exists(up, "/logs/system.log")


def test_a_held_call_exits_4_and_its_approval_carries_it_out(up: Up) -> None:
    path = new_file(up)
    arguments = ("call", "files.delete", "--host", "local", "--agent", "cleaner", "--intent", "x")
    code, call = up.call(*arguments, "--arg", f"path={path}")
    assert code == 4, call
    assert call["outcome"] is None
    assert exists(up, path)
    assert call["decision"]["effect"] == "require_approval", call
    assert "level is `ask`" in call["decision"]["reason"]
    assert call["approval"] | {"status": "pending", "subject": "diff", "verdict": None} == call["approval"]
    code, pending = up.call("approvals", "list", "--call", call["call_id"])
    assert code == 0
    assert [approval["approval_id"] for approval in pending] == [call["approval_id"]]
    code, approval = up.call("approvals", "show", call["approval_id"])
    assert [effect["target"] for effect in approval["diff"]["effects"]] == [path]
    code, decided = up.call("approvals", "approve", call["approval_id"], "--comment", "fine")
    assert code == 0, decided
    assert decided["call"]["outcome"] == "applied"
    assert decided["decision"]["approver"] == "tester"
    assert not exists(up, path)
    settled = decided["call"]
    assert settled["decision"]["effect"] == "require_approval"
    assert (settled["approval"]["verdict"], settled["approval"]["approver"]) == ("approve", "tester")
    shown = up.cmdop("calls", "show", call["call_id"]).stdout
    assert "require_approval" in shown and "approved by tester" in shown
    tree = up.cmdop("trace", "show", call["call_id"]).stdout
    assert "held for a person: the agent's level is `ask`" in tree and "approved by tester" in tree


def test_what_a_preview_shows_is_held_by_the_policy_that_asks(up: Up) -> None:
    database, script = (f"/srv/app/{uuid.uuid4().hex[:8]}.{kind}" for kind in ("db", "sh"))
    for path, content in ((database, "rows"), (script, f"rm {database}\n")):
        assert up.call("call", "files.write", "--host", "local", "--arg", f"path={path}", "--arg", f"content={content}")
    code, call = up.call(
        *("call", "terminal.exec", "--host", "local", "--agent", "cleaner", "--intent", "tidy up"),
        *("--arg", f"command=bash {script}", "--arg", "cwd=/srv/app"),
    )
    assert (code, call["decision"]["effect"]) == (4, "require_approval"), call
    assert call["decision"]["policies"] == ["workspace.database"], call
    assert database in call["decision"]["reason"]
    assert [policy["id"] for policy in call["error"]["policies"]] == ["workspace.database"]
    _, decided = up.call("approvals", "reject", call["approval_id"])
    assert decided["call"]["decision"]["effect"] == "require_approval"
    assert exists(up, database)


def test_a_kind_of_effect_that_is_none_is_told_with_those_that_are(up: Up) -> None:
    code, call = executed(up, "true", "file.remove:/srv/app/x", "nonsense:x")
    assert (code, call["error"]["reason"]) == (2, "INVALID_EFFECT"), call
    first, second = call["error"]["violations"]
    assert (first["pointer"], first["found"]) == ("/expect/0/kind", "`file.remove`")
    assert "did you mean `file.delete`?" in first["remedy"]["expected"]
    assert (second["found"], "net.connect" in second["expected"]) == ("`nonsense`", True)
    assert "found `file.remove`, expected a kind of effect" in call["error"]["message"]


def test_an_agent_must_say_why_and_is_told_so(up: Up) -> None:
    look = ("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
    code, call = up.call(*look, "--agent", "cleaner")
    assert (code, call["error"]["reason"]) == (2, "INVALID_ACTION"), call
    assert call["error"]["remedy"]["path"] == "/intent"
    assert "/intent: found nothing, expected why this is done" in call["error"]["message"]
    assert up.call(*look)[0] == 0
    assert "An agent (--agent) must say it" in " ".join(up.cmdop("call", "--help").stdout.replace("│", " ").split())


def test_a_rejected_call_changes_nothing(up: Up) -> None:
    path = new_file(up)
    arguments = ("call", "files.delete", "--host", "local", "--agent", "cleaner", "--intent", "x")
    _, call = up.call(*arguments, "--arg", f"path={path}")
    code, decided = up.call("approvals", "reject", call["approval_id"])
    assert code == 0, decided
    assert decided["call"]["error"]["reason"] == "APPROVAL_REJECTED"
    assert exists(up, path)
    code, again = up.call("approvals", "reject", call["approval_id"])
    assert (code, again["error"]["reason"]) == (2, "APPROVAL_NOT_PENDING")


def held_delete(up: Up) -> tuple[str, str]:
    """A file, and a call of an agent that is held before it deletes it."""
    path = new_file(up)
    asked = ("call", "files.delete", "--host", "local", "--agent", "cleaner", "--intent", "x", "--arg", f"path={path}")
    code, call = up.call(*asked)
    assert code == 4, call
    return path, call["call_id"]


def test_a_preview_is_shown_and_exactly_it_is_committed(up: Up) -> None:
    path, call_id = held_delete(up)
    code, preview = up.call("preview", "show", call_id)
    assert code == 0
    assert [(effect["kind"], effect["target"]) for effect in preview["diff"]["effects"]] == [("file.delete", path)]
    assert path in up.cmdop("preview", "show", call_id).stdout
    code, refused = up.call("preview", "commit", call_id, "--digest", "0" * 64)
    assert (code, refused["error"]["reason"]) == (2, "APPROVAL_VOID")
    assert exists(up, path)
    code, call = up.call("preview", "commit", call_id, "--digest", preview["digest"])
    assert (code, call["outcome"]) == (0, "applied")
    assert not exists(up, path)
    code, again = up.call("preview", "commit", call_id)
    assert (code, again["error"]["reason"]) == (2, "APPROVAL_NOT_PENDING")


def test_a_discarded_preview_changes_nothing(up: Up) -> None:
    path, call_id = held_delete(up)
    code, call = up.call("preview", "discard", call_id, "--comment", "not now")
    assert (code, call["outcome"], call["error"]["reason"]) == (0, "not_applied", "APPROVAL_REJECTED")
    assert exists(up, path)
    code, read = up.call("call", "files.read", "--host", "local", "--arg", f"path={path}")
    code, none = up.call("preview", "show", read["call_id"])
    assert (code, none["error"]["reason"]) == (2, "APPROVAL_NOT_PENDING")
    assert up.call("preview", "show", "none")[1]["error"]["reason"] == "UNKNOWN_CALL"


def test_a_command_that_fails_exits_5(up: Up) -> None:
    code, call = up.call(
        "call", "terminal.exec", "--host", "local", "--arg", "command=cat /srv/app/none", "--arg", "cwd=/srv/app"
    )
    assert (code, call["error"]["reason"]) == (5, "COMMAND_FAILED")
    assert call["result"]["exit_code"] == 1


def test_the_same_key_with_another_action_exits_2(up: Up) -> None:
    key = uuid.uuid4().hex
    arguments = ("call", "files.read", "--host", "local", "--key", key)
    assert up.call(*arguments, "--arg", "path=/logs/system.log")[0] == 0
    code, call = up.call(*arguments, "--arg", "path=/srv/app/cleanup.sh")
    assert (code, call["error"]["reason"]) == (2, "KEY_CONFLICT")


def test_a_person_reads_decision_effects_scores_and_remedy(up: Up) -> None:
    done = up.cmdop(
        *("call", "terminal.exec", "--host", "local", "--agent", "cleaner", "--intent", "free space"),
        *("--arg", "command=rm -rf /logs", "--arg", "cwd=/srv/app", "--expect", "file.delete:/logs"),
    )
    assert done.returncode == 3
    for word in ("deny", "file.delete", "/logs", "scores", "remedy"):
        assert word in done.stdout, done.stdout


NASTY = "\x1b[2J\x1b]0;owned\x07\x9b31m \u202egnp.exe\u200b\r\x08"


def test_no_control_character_of_a_call_reaches_the_terminal(up: Up) -> None:
    path = f"/srv/app/{uuid.uuid4().hex[:8]}\x1b[31m\u202e"
    action = {
        "tool": "files.write",
        "host": "local",
        "intent": "look",
        "arguments": {"path": path, "content": NASTY},
    }
    asked = ("call", "--from", "-", "--agent", "cleaner")
    held = json.loads(up.cmdop(*asked, "--json", stdin=json.dumps(action)).stdout)
    assert held["approval_id"], held
    about = [held["call_id"], held["approval_id"]]
    ran = ("call", "terminal.exec", "--host", "local", "--arg", "cwd=/srv/app")
    printed = [
        up.cmdop(*asked, stdin=json.dumps(action)),
        up.cmdop(*asked, "--json", stdin=json.dumps(action | {"intent": f"again {NASTY}"})),
        up.cmdop("approvals", "show", about[1]),
        up.cmdop("approvals", "list"),
        up.cmdop("approvals", "reject", about[1], "--comment", f"no {NASTY}"),
        *(up.cmdop(noun, "show", about[0], *flags) for noun in ("calls", "trace") for flags in ((), ("--json",))),
        up.cmdop("calls", "list"),
        up.cmdop(*ran, "--arg", "command=printf 'out \\033[31m \\2331m \\r'; printf 'err \\033[2J' >&2"),
        up.cmdop(*ran, "--arg", f"command=echo '{NASTY}'"),
        up.cmdop("calls", "show", NASTY),
        up.cmdop("call", "files.read", "--host", NASTY, "--agent", NASTY, "--intent", "x", "--key", NASTY),
        up.cmdop("call", NASTY, "--host", "local", "--json"),
        up.cmdop("call", "--from", NASTY),
        up.cmdop("call", "files.read", "--host", "local", f"--{NASTY}"),
    ]
    for done in printed:
        for text in (done.stdout, done.stderr):
            assert text.isprintable() or not {c for c in text if not c.isprintable()} - {"\n"}, (done.args, text)


@pytest.mark.parametrize(("character", "told"), [("\x1b", "U+001B"), ("\u202e", "U+202E"), ("\r", "U+000D")])
def test_a_text_that_would_deceive_its_reader_is_refused_with_its_place(up: Up, character: str, told: str) -> None:
    path = f"/srv/app/{uuid.uuid4().hex[:8]}"
    action = {"tool": "files.write", "host": "local", "arguments": {"path": path, "content": "x"}}
    action["intent"] = f"free{character} space"
    asked = ("call", "--from", "-", "--agent", "cleaner")
    code, refused = up.call(*asked, stdin=json.dumps(action))
    assert code == 2, refused
    (fault,) = refused["error"]["violations"]
    assert (fault["pointer"], fault["found"]) == ("/intent", f"{told} after 4 characters")
    assert fault["remedy"]["change"] == {"value": "free space"}
    code, held = up.call(*asked, stdin=json.dumps(action | {"intent": "free space"}))
    assert code == 4, held
    comment = ("--comment", f"no{character}")
    code, refused = up.call("approvals", "reject", held["approval_id"], *comment)
    assert (code, f"{told} after 2 characters" in refused["error"]["message"]) == (2, True), refused
    for text in (("calls", "cancel", held["call_id"], "--why"), ("freeze", "--host", "local", "--why")):
        code, refused = up.call(*text, f"x{character}y")
        assert (code, f"{told} after 1 characters" in refused["error"]["message"]) == (2, True), refused
    assert up.call("approvals", "reject", held["approval_id"])[0] == 0


def test_a_command_that_fails_with_words_on_standard_output_is_quoted(up: Up) -> None:
    arguments = ("--arg", "command=echo 3 tests failed; exit 4", "--arg", "cwd=/srv/app")
    code, call = up.call("call", "terminal.exec", "--host", "local", *arguments)
    assert (code, "3 tests failed" in call["error"]["message"]) == (5, True), call


def test_an_argument_that_is_given_twice_is_refused(up: Up) -> None:
    twice = ("--arg", "path=/logs/system.log", "--arg", "path=/srv/app/cleanup.sh")
    code, refused = up.call("call", "files.read", "--host", "local", *twice)
    assert code == 2
    assert "`path`" in refused["error"]["message"]
    assert refused["error"]["remedy"]["path"] == "/arguments/path"


def test_each_fault_says_what_was_found_and_what_was_expected_once(up: Up) -> None:
    expect = [
        {"kind": "file.delete", "target": ""},
        {"kind": "file.delete", "target": "/x", "min_count": 5, "max_count": 1},
    ]
    document = {"tool": "files.shred", "host": "nohost", "intent": "x", "arguments": {}, "expect": expect}
    code, refused = up.call("call", "--from", "-", stdin=json.dumps(document))
    assert code == 2
    assert refused["error"]["remedy"]["kind"] != "use_tool", "nothing here means to shred"
    found = {fault["pointer"]: (fault["found"], fault["expected"]) for fault in refused["error"]["violations"]}
    assert {pointer: found for pointer, (found, _) in found.items()} == {
        "/tool": "files.shred", "/host": "nohost", "/expect/0/target": "nothing", "/expect/1/min_count": "5",
    }  # fmt: skip
    assert found["/expect/0/target"][1].startswith("a target of the effect language: ")
    assert found["/host"][1] == "the name of a host that has attached: local"


def test_a_name_that_is_none_is_refused_with_all_other_faults(up: Up) -> None:
    code, call = up.call("call", "files.read", "--host", "lo cal", "--agent", "a\x1bb", "--key", "k" * 5000)
    assert code == 2
    pointers = {violation["pointer"] for violation in call["error"]["violations"]}
    assert pointers == {"/intent", "/host", "/idempotency_key", "/actor/agent", "/arguments/path"}
    assert all("128 ASCII letters" in fault["expected"] for fault in call["error"]["violations"][1:4])


def test_lists_are_json_arrays(up: Up) -> None:
    new_file(up)
    for command in (("calls", "list"), ("approvals", "list"), ("approvals", "list", "--all"), ("hosts",), ("tools",)):
        code, listed = up.call(*command)
        assert code == 0
        assert isinstance(listed, list)
    code, tool = up.call("tools", "terminal.exec")
    assert code == 0
    assert tool["arguments_schema"]["properties"]["command"]["type"] == "string"


def test_an_unknown_call_exits_2(up: Up) -> None:
    code, printed = up.call("calls", "show", "none")
    assert (code, printed["error"]["reason"]) == (2, "UNKNOWN_CALL")


def test_doctor_says_what_the_machine_can_confine(up: Up) -> None:
    code, found = up.call("doctor")
    assert code == 0
    assert "preview.overlay" in {one["name"] for one in found["capabilities"]}
