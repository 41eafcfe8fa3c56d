"""What a person sees. Text of an agent or a machine is shown, never interpreted."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cmdop import v1
from cmdop.cli.differences import differences
from cmdop.document import Document, approval_document, call_document, error_document, time_text, word
from cmdop.document.text import (
    effect_details,
    in_row,
    net_words,
    quorum_words,
    score_words,
    size_text,
    undo_words,
    value_text,
    verdict_words,
    visible,
)

_PIPE_WIDTH = 140
_SHOWN_EFFECTS = 20
_SHOWN_OUTPUT = 4_000
_DOING_CHARS = 80


def console() -> Console:
    """Where results go."""
    return _console(is_error=False)


def error_console() -> Console:
    """Where errors go."""
    return _console(is_error=True)


def _console(*, is_error: bool) -> Console:
    stream = sys.stderr if is_error else sys.stdout
    # A pipe has no width of its own; COLUMNS, which rich reads by itself, says another one.
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def shown(text: str, style: str = "") -> Text:
    """Text in one row, with control, bidirectional and invisible characters made visible.

    An approver must see what will run: an escape sequence in an intent could redraw the screen, and a line of its own
    could look like an effect.
    """
    return Text(in_row(text), style=style)


def block(text: str, style: str = "") -> Text:
    """The same of what has lines, such as a script: they stay lines."""
    return Text(visible(text), style=style)


def call_view(call: v1.Call) -> RenderableType:
    """A call: decision, effects, scores, result, error and remedy."""
    document = call_document(call)
    grid = _grid()
    grid.add_row(_mark(document), _headline(document))
    _row(grid, "intent", document["intent"])
    _arguments(grid, document["arguments"])
    if (decision := document["decision"]) is not None:
        policies = f"  [{', '.join(decision['policies'])}]" if decision["policies"] else ""
        effect = decision["effect"] or "none"
        text = Text.assemble((effect, _DECISION_STYLES.get(effect, "")), "  ")
        grid.add_row(_label("decision"), text + shown(decision["reason"] + policies))
    _answer(grid, document["approval"])
    for name in ("predicted", "declared", "observed"):
        _effects(grid, name, document[name])
    if net := net_words(document):
        _row(grid, "net effect", net, "yellow")
    for name, listed in (("started", "looks"), ("ended", "ended")):
        _effects(grid, name, document[listed])
    _refused(grid, document)
    for why in document["unanalysable"]:
        _row(grid, "unknown", why, "yellow")
    for one in document["unobserved"]:
        _row(grid, "unobserved", f"{one['kind']}: {one['why']}", "yellow")
    _effects(grid, "beyond", document["side_effects"], "red")
    if document["confinement"]:
        _row(grid, "confined by", document["confinement"], "dim")
    _scores(grid, document)
    _result(grid, document["result"])
    _error(grid, document["error"])
    if document["outcome"] == "unknown" and not _lost_call(document["error"]):
        _reconcile(grid, document["call_id"])
    _word(grid, document["reconciliation"])
    _abridged(grid, document)
    if document["approval_id"] and document["outcome"] is None:
        _row(grid, "decide", f"cmdop approvals show {document['approval_id']}", "bold")
    return grid


def _word(grid: Table, word: Document | None) -> None:
    """Who settled it by their word, and what its host measured of it since."""
    if word is None:
        return
    said = f"{word['by']}, who looked, and said {(word['outcome'] or 'so').replace('_', ' ')}: {word['why']}"
    if word["contradicted"] is None:
        told = "; its host cannot tell either" if word["measured"] else ""
        away = "; its host was away" if word["without_host"] else ""
        _row(grid, "word of", f"{said}; nobody measured it{told or away}", "yellow")
        return
    _row(grid, "word of", said, "dim")
    verb, style = ("contradicts", "bold red") if word["contradicted"] else ("confirms", "green")
    measured = word["measured"].replace("_", " ")
    _row(grid, "measured", f"{measured}, by its host, at {word['measured_at']}: that {verb} {word['by']}", style)


def _abridged(grid: Table, document: Document) -> None:
    """What is not all here, because it was larger than a message."""
    for one in document["abridged"]:
        what = f"{one['count']} entries" if one["count"] else size_text(one["bytes"])
        _row(grid, "abridged", f"{one['pointer'] or 'all of it'}: {what} in full", "yellow")


def _refused(grid: Table, document: Document) -> None:
    """What the command tried and its confinement refused, in one line."""
    listed = document["refused"]
    if not listed:
        return
    counts: dict[str, int] = {}
    for attempt in listed:
        counts[attempt["what"]] = counts.get(attempt["what"], 0) + attempt["count"]
    words = [what if count == 1 else f"{what} (x{count})" for what, count in counts.items()]
    more = len(words) - _SHOWN_EFFECTS
    rest = f", and {more} more kinds" if more > 0 else ""
    unlisted = f", and {document['refused_more']} more attempts" if document["refused_more"] else ""
    _row(grid, "refused", ", ".join(words[:_SHOWN_EFFECTS]) + rest + unlisted, "yellow")


_DECISION_STYLES = {"allow": "green", "deny": "bold red", "require_approval": "bold yellow"}
_OUTCOME_MARKS = {"applied": ("✓", "green"), "not_applied": ("✗", "red"), "unknown": ("?", "bold magenta")}


def _mark(document: Document) -> Text:
    mark, style = _OUTCOME_MARKS.get(document["outcome"] or "", ("…", "yellow"))
    if document["outcome"] == "applied" and document["error"] is not None:
        mark, style = "!", "yellow"
    return Text(mark, style=style, justify="right")


def _headline(document: Document) -> Text:
    status = document["outcome"] or document["state"] or "proposed"
    who = document["agent"] or document["user"] or ""
    head = Text.assemble((status.replace("_", " "), "bold"), "  ")
    return head + shown(f"{document['tool']} on {document['host']} by {who}  {document['call_id']}")


def _arguments(grid: Table, arguments: Any) -> None:
    fields = cast("Document", arguments) if isinstance(arguments, dict) else {}
    for name, value in fields.items():
        _block(grid, name, value_text(value))


def _answer(grid: Table, approval: Mapping[str, Any] | None) -> None:
    """What a person said to a held call."""
    if approval is not None and approval["verdict"] is not None:
        comment = f": {approval['comment']}" if approval["comment"] else ""
        _row(grid, "answer", verdict_words(approval) + comment)


def _effects(grid: Table, name: str, effects: Sequence[Mapping[str, Any]], style: str = "") -> None:
    for index, effect in enumerate(effects[:_SHOWN_EFFECTS]):
        line = shown(f"{effect['kind']:<14} {effect['target']}", style)
        grid.add_row(_label(name if index == 0 else ""), line + _details(effect))
    if len(effects) > _SHOWN_EFFECTS:
        grid.add_row("", Text(f"and {len(effects) - _SHOWN_EFFECTS} more; --json lists them all", style="dim"))


def _details(effect: Mapping[str, Any]) -> Text:
    details = effect_details(effect)
    text = Text(f"  ({in_row('; '.join(details))})" if details else "", style="dim")
    text.highlight_regex(r"SETUID|SETGID|attribute security\.capability|(default )?access list", "bold red")
    return text


def _scores(grid: Table, document: Document) -> None:
    if (scores := document["scores"]) is None:
        return
    grid.add_row(_label("scores"), Text(score_words(document), style="green" if scores["clean"] else ""))


def _result(grid: Table, result: Any) -> None:
    if not isinstance(result, dict):
        return
    fields = cast("Document", {**result})
    bulky = [name for name in ("stdout", "stderr", "content") if isinstance(fields.get(name), str)]
    texts = {name: fields.pop(name) for name in bulky}
    entries: list[Document] = fields.pop("entries", [])
    short = {name: value for name, value in fields.items() if value not in (None, False)}
    if short:
        _row(grid, "result", "  ".join(_named(name, value) for name, value in short.items()))
    for entry in entries[:_SHOWN_EFFECTS]:
        _row(grid, "", f"{entry.get('type', ''):<10} {entry.get('size', ''):>12} {entry.get('path', '')}")
    for name, text in texts.items():
        if text:
            _block(grid, name, text[:_SHOWN_OUTPUT].rstrip("\n"))


def _named(name: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{name} {value}"
    fields = cast("Mapping[str, Any]", value)
    return "  ".join(f"{inner} {each}" for inner, each in fields.items() if each is not None)


def _error(grid: Table, error: Mapping[str, Any] | None) -> None:
    if error is None:
        return
    grid.add_row(_label("error"), Text.assemble((error["reason"], "bold red"), "  ") + shown(error["message"]))
    for violation in error["violations"]:
        found = f"found {violation['found']}, " if violation["found"] else ""
        _row(grid, violation["pointer"] or "/", f"{found}expected {violation['expected']}", "yellow")
    for policy in error["policies"]:
        effect = f"  on {policy['effect']}" if policy["effect"] else ""
        _row(grid, "policy", f"{policy['id']}: {policy['reason']}{effect}")
        if policy["remedy"]:
            _row(grid, "", policy["remedy"], "cyan")
    if error["remedy"] is not None:
        _row(grid, "remedy", _remedy_text(error["remedy"]), "cyan")
    if call_id := _lost_call(error):
        _reconcile(grid, call_id)


def _lost_call(error: Mapping[str, Any] | None) -> str:
    """The call of which its remedy says that somebody must find out what became, or an empty text."""
    remedy: Document = (error or {}).get("remedy") or {}
    return str(remedy["call_id"]) if remedy.get("kind") == "reconcile" else ""


def _reconcile(grid: Table, call_id: str) -> None:
    """What settles a call of which nobody can tell what became."""
    _row(grid, "settle", "look on the machine, then say what you found:", "bold")
    _row(grid, "", f"cmdop calls reconcile {call_id} --outcome applied|not_applied --why 'what you saw'", "bold")


def _remedy_text(remedy: Mapping[str, Any]) -> str:
    fields: list[str] = []
    for name, value in remedy.items():
        if name == "kind" or value in ("", [], False):
            continue
        if name == "new_key":
            fields.append("under a new key")
            continue
        if name == "change":
            fields.append(_change_text(value))
            continue
        if value is True:
            fields.append(name.replace("_", " "))
            continue
        if isinstance(value, list):
            value = ", ".join(_remedy_item(item) for item in cast("list[str | Document]", value))
        fields.append(f"{name.replace('_', ' ')} {value}")
    return "  ".join([remedy["kind"], *fields])


def _change_text(change: Mapping[str, Any]) -> str:
    """What is certain to mend it."""
    if change.get("remove"):
        return "take it out"
    if "rename" in change:
        return f"call it {change['rename']}"
    return f"make it {json.dumps(change.get('value'), ensure_ascii=False)}"


def _remedy_item(item: str | Document) -> str:
    if isinstance(item, str):
        return item
    return f"{item['kind']}:{item['target']}{' (min_count 0)' if item['min_count'] == 0 else ''}"


def error_view(error: v1.Error) -> RenderableType:
    """An error with its violations, policies and remedy."""
    grid = _grid()
    _error(grid, error_document(error))
    return grid


def approval_view(approval: v1.Approval, before: Sequence[v1.Call] | None = None) -> RenderableType:
    """What an approver must see: the action and why it was held, its exact diff, what was done before, who agreed."""
    document = approval_document(approval)
    requester = document["requester"]
    grid = _grid()
    grid.add_row(
        Text("?", style="bold yellow"),
        Text.assemble((document["status"] or "", "bold"), "  ")
        + shown(f"{document['tool']} on {document['host']}  {document['approval_id']}"),
    )
    _row(grid, "asked by", " for ".join(name for name in (requester["agent"], requester["user"]) if name))
    if document["author"]:
        _row(grid, "written by", f"{document['author']}, in place of what was asked before")
    _row(grid, "intent", document["intent"])
    _arguments(grid, document["arguments"])
    _row(grid, "held", document["why"])
    for policy in document["policies"]:
        _row(grid, "policy", f"{policy['id']}: {policy['reason']}")
    _effects(grid, "permits", document["effects"])
    diff = document["diff"]
    if diff is not None:
        _effects(grid, "diff", diff["effects"])
        _refused(grid, diff)
        for one in diff["unobserved"]:
            _row(grid, "unobserved", f"{one['kind']}: {one['why']}", "yellow")
        if diff["truncated"]:
            _row(grid, "", "there were more effects than the host lists", "red")
    _looked_at(grid, document["beyond"])
    _undo(grid, document["irreversible"], diff["effects"] if diff is not None else ())
    _before(grid, before)
    for quorum in document["quorums"]:
        _row(grid, "approvals", quorum_words(quorum) + (f" ({quorum['policy']})" if quorum["policy"] else ""))
    for answer in document["answers"]:
        _row(grid, "answer", verdict_words(answer) + (f": {answer['comment']}" if answer["comment"] else ""))
    if document["void_cause"]:
        _row(grid, "void", document["void_cause"].replace("_", " "))
    _abridged(grid, document)
    _row(grid, "expires", document["expires_at"] or "never")
    _row(grid, "digest", document["digest"], "dim")
    parts: list[RenderableType] = [grid]
    if diff is not None:
        parts += differences(diff["effects"], is_abridged=bool(document["abridged"]))
    if approval.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING:
        typed = f" --confirm {shlex.quote(approval.confirm)}" if approval.confirm else ""
        command = f"cmdop approvals approve {approval.approval_id}{typed}"
        parts.append(shown(f"{command}    or reject, modify, escalate, terminate", "bold"))
    return Group(*parts)


def _looked_at(grid: Table, effects: Sequence[Document]) -> None:
    """What of a diff a person is asked about, and why each: it was not declared, or policy holds it all the same."""
    for index, effect in enumerate(effects[:_SHOWN_EFFECTS]):
        line = shown(f"{effect['kind']:<14} {effect['target']}", "red")
        grid.add_row(_label("" if index else "look at"), line + Text(f"  ({in_row(effect['why'])})", style="dim"))
    if len(effects) > _SHOWN_EFFECTS:
        _row(grid, "", f"and {len(effects) - _SHOWN_EFFECTS} more; --json lists them all", "dim")


def _undo(grid: Table, irreversible: Sequence[str], effects: Sequence[Document]) -> None:
    """Can what is asked about be taken back?"""
    if not irreversible:
        stays = undo_words(effects)
        _row(grid, "undo", stays or "can be taken back", "yellow" if stays else "")
        return
    for index, effect in enumerate(irreversible[:_SHOWN_EFFECTS]):
        _row(grid, "" if index else "undo", f"cannot be taken back: {effect}", "bold red")
    if len(irreversible) > _SHOWN_EFFECTS:
        _row(grid, "", f"and {len(irreversible) - _SHOWN_EFFECTS} more that cannot be taken back", "bold red")


def _before(grid: Table, calls: Sequence[v1.Call] | None) -> None:
    """What the same run or agent did before, newest first."""
    if calls is None:
        return
    if not calls:
        _row(grid, "before", "nothing", "dim")
    for index, call in enumerate(calls):
        document = call_document(call)
        error: Document = document["error"] or {}
        became = document["outcome"] or document["state"] or "proposed"
        why = f" ({error['reason']})" if error.get("reason") else ""
        _row(
            grid, "" if index else "before", f"{became.replace('_', ' ')}{why}  {document['tool']}: {_doing(document)}"
        )


def _doing(document: Document) -> str:
    """What a call was about, in one line."""
    arguments: Any = document["arguments"]
    fields = cast("Document", arguments) if isinstance(arguments, dict) else {}
    told = fields.get("command") or fields.get("path") or document["intent"] or ""
    line = " ".join(value_text(told).split())
    return line if len(line) <= _DOING_CHARS else f"{line[:_DOING_CHARS]}…"


def calls_table(calls: Iterable[v1.Call]) -> RenderableType:
    """Calls with their outcomes and scores."""
    table = _table("call", "tool", "host", "by", "outcome", "decision", "valid", "success", "side effects", "error")
    for call in calls:
        document = call_document(call)
        scores: Document = document["scores"] or {}
        decision: Document = document["decision"] or {}
        error: Document = document["error"] or {}
        cells: tuple[str | None, ...] = (
            document["call_id"],
            document["tool"],
            document["host"],
            document["agent"] or document["user"],
            document["outcome"] or document["state"],
            decision.get("effect"),
            _number(scores.get("validity")),
            _number(scores.get("success")),
            _number(scores.get("side_effects")),
            error.get("reason"),
        )
        table.add_row(*(shown(cell or "") for cell in cells))
    return table


def approvals_table(approvals: Iterable[v1.Approval]) -> RenderableType:
    """Approvals, and what each asks."""
    table = _table("approval", "status", "asks", "missing", "tool", "host", "by", "why", "expires")
    for approval in approvals:
        table.add_row(
            *(
                shown(str(cell))
                for cell in (
                    approval.approval_id,
                    word(v1.ApprovalStatus, approval.status) or "",
                    word(v1.ApprovalSubject, approval.subject) or "",
                    approval_document(approval)["missing"],
                    approval.action.tool,
                    approval.action.host,
                    approval.requester.agent or approval.requester.user,
                    approval.why,
                    time_text(approval.expires_at) or "",
                )
            )
        )
    return table


def hosts_table(hosts: Iterable[v1.Host]) -> RenderableType:
    """Hosts, and what each can do."""
    table = _table("host", "attached", "fixture", "workspaces", "can", "cannot")
    for host in hosts:
        can = ", ".join(one.name for one in host.capabilities if one.available)
        cannot = ", ".join(one.name for one in host.capabilities if not one.available)
        cells = (host.name, _yes(host.attached), _yes(host.fixture), ", ".join(host.workspaces), can, cannot)
        table.add_row(*(shown(cell) for cell in cells))
    return table


def tools_table(tools: Iterable[v1.ToolContract]) -> RenderableType:
    """Tools, and what each is for."""
    table = _table("tool", "effects", "runs", "what it does")
    for tool in tools:
        source, runs = word(v1.EffectSource, tool.effect_source), word(v1.Idempotency, tool.idempotency)
        table.add_row(*(shown(cell or "") for cell in (tool.name, source, runs, tool.description)))
    return table


def doctor_view(facts: Mapping[str, Any], capabilities: Iterable[v1.Capability]) -> RenderableType:
    """What this machine can confine and observe."""
    grid = _grid()
    for name, value in facts.items():
        _row(grid, name, str(value))
    table = _table("", "what", "how it was found out, or how to get it")
    for one in capabilities:
        mark = Text("✓", style="green") if one.available else Text("✗", style="red")
        table.add_row(mark, shown(one.name), shown(one.detail))
    return Group(grid, Text(), table)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=10, style="dim")
    grid.add_column(overflow="fold")
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        # What is first is what one copies.
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    return table


def _label(name: str) -> Text:
    return Text(name, style="dim")


def _row(grid: Table, name: str, text: str, style: str = "") -> None:
    grid.add_row(shown(name, "dim"), shown(text, style))


def _block(grid: Table, name: str, text: str) -> None:
    grid.add_row(shown(name, "dim"), block(text))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
