"""What an approval asks a person to look at."""

from __future__ import annotations

import io
from typing import cast

import pytest
from rich.console import Console, RenderableType

from cmdop import v1
from cmdop.cli.output import approval_view, call_view
from cmdop.trace import trace_tree


def test_what_is_looked_at_is_shown_with_its_reason_and_is_not_called_undeclared() -> None:
    effect = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_MODIFY, target="/srv/app/a.db", count=1)
    held = v1.SideEffect(effect=effect, severity=v1.Severity.SEVERITY_HIGH, why="`site.database` holds it")
    approval = v1.Approval(approval_id="a", diff=v1.Observation(effects=[effect]), beyond=[held])
    console = Console(width=200, file=io.StringIO())
    console.print(approval_view(approval))
    (line,) = [line for line in cast("io.StringIO", console.file).getvalue().splitlines() if "look at" in line]
    assert "/srv/app/a.db" in line and "`site.database` holds it" in line
    assert "beyond" not in line


FORGED = "x\nobserved    file.modify /nothing\r\x1b[2J"


def printed(view: RenderableType) -> list[str]:
    """The rows as a person reads them."""
    console = Console(width=300, file=io.StringIO())
    console.print(view)
    return [line.strip(" │├└─") for line in cast("io.StringIO", console.file).getvalue().splitlines()]


@pytest.mark.parametrize("place", ["argument", "target", "intent", "host", "error"])
def test_what_others_give_makes_no_row_of_its_own(place: str) -> None:
    kinds = v1.EffectKind
    process = v1.ProcessChange(program="/bin/true", arguments=["true", FORGED])
    started = v1.ObservedEffect(kind=kinds.EFFECT_KIND_PROCESS_SPAWN, target="true", count=1, process=process)
    changed = v1.ObservedEffect(kind=kinds.EFFECT_KIND_FILE_CREATE, target=f"/srv/{FORGED}", count=1)
    given = {"argument": started, "target": changed}.get(place)
    call = v1.Call(call_id="c1", outcome=v1.Outcome.OUTCOME_APPLIED)
    call.proposal.action.tool = "terminal.exec"
    call.proposal.action.intent = FORGED if place == "intent" else ""
    call.proposal.action.host = FORGED if place == "host" else "local"
    if given is not None:
        call.observation.effects.append(given)
    if place == "error":
        call.error.reason, call.error.message = v1.Reason.REASON_COMMAND_FAILED, FORGED
    approval = v1.Approval(approval_id="a", action=call.proposal.action, diff=call.observation)
    views = [call_view(call), trace_tree(v1.Trace(calls=[call]))]
    for view in [*views, *([] if place == "error" else [approval_view(approval)])]:
        rows = printed(view)
        assert not [row for row in rows if row.startswith("observed    file.modify /nothing")], rows
        assert any(row.count("file.modify /nothing") and "\\x1b[2J" in row for row in rows), rows


def test_a_script_is_shown_line_by_line() -> None:
    action = v1.Action(tool="terminal.exec", arguments_json='{"command": "cd /srv\\nmake\\n"}')
    rows = printed(approval_view(v1.Approval(approval_id="a", action=action)))
    assert any(row.endswith("cd /srv") for row in rows) and "make" in rows, rows


def test_a_call_says_what_held_it() -> None:
    call = v1.Call(call_id="c1", outcome=v1.Outcome.OUTCOME_APPLIED)
    call.result.confinement = "read-only overlay, seccomp, landlock"
    (row,) = [row for row in printed(call_view(call)) if "landlock" in row]
    assert row.split(maxsplit=2) == ["confined", "by", "read-only overlay, seccomp, landlock"]
