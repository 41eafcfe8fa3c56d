"""A trace as a tree says everything about a call, in words."""

from __future__ import annotations

import hashlib
import io
import uuid
from typing import Any

import pytest
from rich.console import Console
from tests.live import Up

from cmdop import v1
from cmdop.cli.output import approval_view, call_view
from cmdop.document import effect_document
from cmdop.trace import trace_tree

pytestmark = pytest.mark.timeout(180)


def test_approval_permits_diff_latency_and_scores_are_in_the_tree(up: Up) -> None:
    path = f"/srv/app/{uuid.uuid4().hex[:8]}.txt"
    code, held = up.call(
        *("call", "files.write", "--host", "local", "--agent", "cleaner", "--intent", "say it"),
        *("--arg", f"path={path}", "--arg", "content=hello tree\n"),
    )
    assert code == 4, held
    assert up.call("approvals", "approve", held["approval_id"], "--comment", "well done")[0] == 0
    done = up.cmdop("trace", "show", held["call_id"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 140
    text = " ".join(line.strip("│├└─ ") for line in lines)
    for said in (
        "asked by cleaner for tester: say it",
        f"path: {path}",
        "approved by tester at 20",
        ": well done",
        "for preview, attempt 1",
        f"for commit, attempt 1, by approval {held['approval_id']}",
        f"permitted file.create {path}",
        "would do",
        "+hello tree",
        "validated in",
        "scores: valid, succeeded, no side effects: clean",
    ):
        assert said in text, f"{said!r} is not in\n{done.stdout}"
    assert "{'" not in text, "no dictionary of Python's"


def rendered(renderable: Any) -> str:
    console = Console(width=200, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_turn_is_summarised_and_nothing_of_it_is_interpreted() -> None:
    turn = v1.ModelTurn(run_id="r", turn=1, model="m", duration_ns=1_500_000_000, model_call_ids=["1"])
    turn.prompt_json = '[{"type": "UserText", "text": "clear\\u001b[2J the disk"}, {"type": "Reasoning", "data": "x"}]'
    turn.response_json = '{"text": "I will", "calls": [{"id": "1", "name": "terminal_exec", "arguments": "{}"}]}'
    run = v1.Run(run_id="r", task="clear", actor=v1.Actor(user="me", agent="a"), started_at=1, finished_at=2)
    trace = v1.Trace(run=run, events=[v1.Event(at=1, subject="r", turn_recorded=v1.TurnRecorded(turn=turn))])
    text = rendered(trace_tree(trace))
    assert "turn 1  m  1.50 s" in text
    assert "told: clear\\x1b[2J the disk" in text
    assert "said: I will" in text
    assert "asked: terminal_exec" in text
    assert "\x1b" not in text
    for broken in ("[" * 5000, "[1, null]", "nothing", '{"text": 1}'):
        turn.prompt_json = turn.response_json = broken
        trace.events[0].turn_recorded.turn.CopyFrom(turn)
        assert "turn 1" in rendered(trace_tree(trace))


def changed(kind: v1.EffectKind, **file: Any) -> v1.ObservedEffect:
    return v1.ObservedEffect(kind=kind, target="/srv/app/x", count=1, reversible=True, file=v1.FileChange(**file))


def test_an_approver_sees_mode_owner_size_and_digest() -> None:
    regular = v1.FileType.FILE_TYPE_REGULAR
    kinds = v1.EffectKind
    plain = v1.FileState(type=regular, size=5, mode=0o644, sha256="ab" * 32)
    loud = v1.FileState(type=regular, size=5, mode=0o6755, uid=1000, gid=33, sha256="ab" * 32)

    def view(effect: v1.ObservedEffect) -> str:
        return rendered(approval_view(v1.Approval(diff=v1.Observation(effects=[effect]))))

    created = view(changed(kinds.EFFECT_KIND_FILE_CREATE, after=loud))
    for said in ("SETUID", "SETGID", "mode 6755", "owner 1000:33", "sha256 abababababababab"):
        assert said in created, created
    ordinary = view(changed(kinds.EFFECT_KIND_FILE_CREATE, after=plain))
    assert "mode" not in ordinary and "owner" not in ordinary and "SETUID" not in ordinary
    chmod = view(changed(kinds.EFFECT_KIND_FILE_CHMOD, before=plain, after=loud))
    assert "SETUID SETGID mode 0644 → 6755" in chmod
    assert "owner 0:0 → 1000:33" in chmod
    grown = v1.FileState(type=regular, size=5000, mode=0o644, sha256="cd" * 32)
    assert "size 5 B → 5 kB" in view(changed(kinds.EFFECT_KIND_FILE_MODIFY, before=plain, after=grown))
    capability = v1.FileState(type=regular, mode=0o755)
    capability.xattrs.add(name="security.capability")
    assert "attribute security.capability" in view(changed(kinds.EFFECT_KIND_FILE_CREATE, after=capability))
    link = v1.FileState(type=v1.FileType.FILE_TYPE_SYMLINK, mode=0o777, link_target="/etc\x1b[2J")
    assert "symlink to /etc\\x1b[2J" in view(changed(kinds.EFFECT_KIND_FILE_CREATE, after=link))
    tree = v1.ObservedEffect(kind=kinds.EFFECT_KIND_FILE_DELETE, target="/srv/app/logs", count=7, bytes=1_200_000)
    assert "7 entries; 1.2 MB" in view(tree)


def with_attributes(**shown: str | None) -> v1.FileState:
    state = v1.FileState(type=v1.FileType.FILE_TYPE_REGULAR, size=5, mode=0o644, sha256="ab" * 32)
    for name, value in shown.items():
        state.xattrs.add(name=name.replace("_", ".", 1), sha256=hashlib.sha256(repr(value).encode()).hexdigest())
        if value is not None:
            state.xattrs[-1].shown = value.removesuffix("!")
    return state


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"user_t": '"yyy"'}, {"user_t": '"zzz"'}, 'attribute user.t: "yyy" → "zzz"'),
        ({}, {"user_t": '"a\u202eb"'}, 'attribute user.t: "a\\u202eb"'),
        ({"user_t": "0xff"}, {}, "attribute user.t: 0xff → none"),
        ({"user_t": None}, {"user_t": '"z"'}, 'attribute user.t: sha256 dc937b59892604f5… → "z"'),
        (
            {"system_posix_acl_access": "user::rw-,user:1000:rw-,mask::rw-"},
            {"system_posix_acl_access": "user::rw-,user:12345:rw-,mask::rw-"},
            "access list: user:1000:rw- → user:12345:rw-",
        ),
        (
            {"system_posix_acl_access": "user::rw-"},
            {"system_posix_acl_access": "user::rw-,user:0:rw-"},
            "access list: also user:0:rw-",
        ),
        (
            {"system_posix_acl_default": "user::rw-,user:0:rw-"},
            {"system_posix_acl_default": "user::rw-"},
            "default access list: no longer user:0:rw-",
        ),
        ({}, {"system_posix_acl_access": "user::rw-,user:0:r--"}, "access list: user::rw-,user:0:r--"),
    ],
)
def test_an_approver_sees_what_attributes_and_access_lists_become(
    before: dict[str, str | None], after: dict[str, str | None], said: str
) -> None:
    effect = changed(
        v1.EffectKind.EFFECT_KIND_FILE_CHMOD, before=with_attributes(**before), after=with_attributes(**after)
    )
    observation = v1.Observation(effects=[effect])
    for text in (
        rendered(approval_view(v1.Approval(diff=observation))),
        rendered(trace_tree(v1.Trace(calls=[v1.Call(call_id="c1", observation=observation)]))),
    ):
        assert f"({said})" in text, text


def test_values_that_are_shown_alike_are_told_apart_and_what_stays_is_not_said() -> None:
    before, after = (with_attributes(user_t=value, user_same='"s"') for value in ('"y"… 300 bytes', '"y"… 300 bytes!'))
    effect = changed(v1.EffectKind.EFFECT_KIND_FILE_MODIFY, before=before, after=after)
    text = rendered(approval_view(v1.Approval(diff=v1.Observation(effects=[effect]))))
    assert text.count('"y"… 300 bytes (sha256 ') == 2 and "user.same" not in text, text
    document = effect_document(effect)["file"]["after"]["xattrs"]
    assert document[0] == {"name": "user.t", "value": '"y"… 300 bytes', "sha256": after.xattrs[0].sha256}


def test_each_text_difference_says_which_file_it_is_of_and_a_missing_one_why() -> None:
    regular, kinds = v1.FileType.FILE_TYPE_REGULAR, v1.EffectKind

    def created(name: str, size: int, **change: Any) -> v1.ObservedEffect:
        after = v1.FileState(type=regular, size=size, mode=0o644, sha256="ab" * 32)
        effect = changed(kinds.EFFECT_KIND_FILE_CREATE, after=after, **change)
        effect.target = f"/srv/app/{name}"
        return effect

    effects = [
        created("one", 5, text_diff="@@ -0,0 +1 @@\n+file.create  /etc/x\n"),
        created("cut", 9_000, text_diff="@@ -0,0 +1 @@\n+b\n", text_diff_truncated=True),
        created("large", 300 * 1024),
        created("latin", 5),
        created(".env", 5, text_diff_truncated=True),
        created("empty", 0),
        created("moved", 5, renamed="/srv/app/old"),
    ]
    view = rendered(approval_view(v1.Approval(diff=v1.Observation(effects=effects))))
    lines = [line.rstrip() for line in view.splitlines()]
    below = lines[next(at for at, line in enumerate(lines) if line.startswith("file.create")) :]
    assert below == [
        "file.create  /srv/app/one",
        "@@ -0,0 +1 @@",
        "+file.create  /etc/x",
        "file.create  /srv/app/cut",
        "@@ -0,0 +1 @@",
        "+b",
        "… cut at 4 KiB",
        "file.create  /srv/app/large  (no text difference: the file is larger than 256 KiB)",
        "file.create  /srv/app/latin  (no text difference: the file is not UTF-8 text, or was not compared)",
        "file.create  /srv/app/.env  (no text difference: the file is a secret)",
    ]
    tree = rendered(trace_tree(v1.Trace(calls=[v1.Call(call_id="c1", observation=v1.Observation(effects=effects))])))
    assert tree.count("no text difference: ") == 3 and "larger than 256 KiB" in tree, tree
    many = v1.Observation(effects=[created(str(number), 5) for number in range(23)])
    assert "and 3 more files without a text difference" in rendered(approval_view(v1.Approval(diff=many)))


def test_what_cannot_be_undone_by_its_diff_is_not_said_to_be_taken_back() -> None:
    made = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_CREATE, target="/srv/app/x", count=1)
    kept = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_DELETE, target="/srv/app/y", count=1, reversible=True)
    view = rendered(approval_view(v1.Approval(diff=v1.Observation(effects=[made, kept]))))
    assert "cannot be undone: 1 of 2 effects; what they make can only be deleted again" in view, view
    assert "can be taken back" not in view
    assert "can be taken back" in rendered(approval_view(v1.Approval(diff=v1.Observation(effects=[kept]))))


@pytest.mark.parametrize("outcome", [v1.Outcome.OUTCOME_NOT_APPLIED, v1.Outcome.OUTCOME_APPLIED])
def test_a_contact_of_a_call_that_applied_no_change_is_said(outcome: v1.Outcome) -> None:
    changed = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_CREATE, target="/srv/app/x", count=1)
    contacted = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_NET_CONNECT, target="127.0.0.1:80", count=1)
    call = v1.Call(call_id="c1", outcome=outcome, observation=v1.Observation(effects=[changed, contacted]))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(call_view(call))
    console.print(trace_tree(v1.Trace(calls=[call])))
    text = console.export_text()
    is_net = outcome == v1.Outcome.OUTCOME_NOT_APPLIED
    said = "no change was applied; it contacted 127.0.0.1:80"
    assert text.count(said) == (2 if is_net else 0), text
    private = text.find("observed on the private copy only")
    assert (private >= 0) == is_net
    if is_net:
        assert "net.connect" not in text[private : text.rfind(said)], "a contact leaves the private copy"


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (v1.Outcome.OUTCOME_APPLIED, "valid, nobody measured whether it succeeded, side effects not observed"),
        (v1.Outcome.OUTCOME_UNKNOWN, "valid, nobody can tell what it did, side effects not observed"),
    ],
)
def test_the_scores_of_what_nobody_measured_say_so(outcome: v1.Outcome, said: str) -> None:
    unseen = v1.Unobserved(kind=v1.EffectKind.EFFECT_KIND_FILE_CREATE, why="the host died")
    call = v1.Call(call_id="c1", outcome=outcome, observation=v1.Observation(unobserved=[unseen]))
    call.score.validity = 1
    for text in (rendered(call_view(call)), rendered(trace_tree(v1.Trace(calls=[call])))):
        assert said in text, text
        assert "nothing ran" not in text and "no side effects" not in text, text


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (v1.Outcome.OUTCOME_UNSPECIFIED, "side effects not observed"),
        (v1.Outcome.OUTCOME_UNKNOWN, "side effects not observed"),
        (v1.Outcome.OUTCOME_APPLIED, "no side effects"),
    ],
)
def test_somebody_s_word_is_no_measurement_and_a_late_one_is(measured: v1.Outcome, said: str) -> None:
    call = v1.Call(call_id="c1", outcome=v1.Outcome.OUTCOME_APPLIED)
    call.reconciliation.by.user, call.reconciliation.outcome = "ada", v1.Outcome.OUTCOME_APPLIED
    call.reconciliation.measured = measured
    call.score.validity = 1
    text = rendered(call_view(call))
    assert f", {said}" in text, text
