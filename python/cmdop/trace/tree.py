"""A trace for people: what was asked, decided, permitted, done and measured, in order."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from rich.text import Text
from rich.tree import Tree

from cmdop import v1
from cmdop.document import Document, call_document, effect_document, side_effect_document, word
from cmdop.document.render import AnyEffect, verdict_document
from cmdop.document.text import (
    duration_text,
    effect_details,
    in_row,
    is_contact,
    net_words,
    score_words,
    text_note,
    value_text,
    verdict_words,
    visible,
)
from cmdop.document.words import kind_name, time_text

_SHOWN_EFFECTS: Final = 20
_SHOWN_TEXT: Final = 300
"""Characters of a text in a trace; `--json` has all of it."""
_SHOWN_DIFF: Final = 20
"""Lines of a text's diff."""


def trace_tree(trace: v1.Trace) -> Tree:
    """The trace as a tree. Text of an agent or a machine is shown, never interpreted."""
    if not trace.HasField("run"):
        root = Tree(Text("trace", style="bold"))
        for call in trace.calls:
            _call(root, call, trace.events)
        return root
    run = trace.run
    root = Tree(_text(f"run {run.run_id}: {run.task}", "bold"))
    _line(root, f"{run.actor.agent or '-'} for {run.actor.user}, model {run.model or '-'}, {time_text(run.started_at)}")
    calls = {call.proposal.model_call_id: call for call in trace.calls if call.proposal.model_call_id}
    shown: set[str] = set()
    for event in trace.events:
        if event.HasField("instruction_given"):
            given = event.instruction_given
            _line(root, f"{given.actor.user} said meanwhile: {_short(given.text)}", "bold")
        if not event.HasField("turn_recorded"):
            continue
        turn = event.turn_recorded.turn
        became = [calls[asked] for asked in turn.model_call_ids if asked in calls]
        branch = _turn(root, turn, {call.proposal.model_call_id for call in became})
        for call in became:
            if call.call_id not in shown:
                shown.add(call.call_id)
                _call(branch, call, trace.events)
    for call in trace.calls:
        if call.call_id not in shown:
            _call(root, call, trace.events)
    if run.finished_at:
        status = word(v1.RunStatus, run.status)
        took = duration_text(run.finished_at - run.started_at)
        _line(root, f"{status} after {took}: {_short(run.why or run.final_output)}", "bold")
    return root


def _turn(root: Tree, turn: v1.ModelTurn, became: Collection[str]) -> Tree:
    tokens = f"{turn.input_tokens} tokens in, {turn.output_tokens} out"
    branch = _line(root, f"turn {turn.turn}  {turn.model}  {duration_text(turn.duration_ns)}, {tokens}", "cyan")
    for entry in _entries(turn.prompt_json):
        if text := _entry_text(entry):
            _line(branch, f"told: {text}", "dim")
    response = _object(turn.response_json)
    for name in ("text", "refusal"):
        if response.get(name):
            _line(branch, f"said: {_short(str(response[name]))}")
    for asked in _objects(response.get("calls")):
        # What became a call is shown as one.
        arguments = "" if asked.get("id") in became else f" {_short(str(asked.get('arguments', '')))}"
        _line(branch, f"asked: {asked.get('name')}{arguments}")
    if not response and turn.response_json:
        _line(branch, f"said: {_short(turn.response_json)}")
    return branch


def _entry_text(entry: Mapping[str, Any]) -> str:
    """One thing that the model was told, in a line. What it said itself stands in the turn before."""
    if entry.get("type") in ("ModelText", "FunctionCall", "Reasoning"):
        return ""
    answer = _object(str(entry.get("output") or ""))
    if answer:
        errors = _objects([answer.get("error")])
        why = "; ".join(f"{error.get('reason')}: {error.get('message')}" for error in errors)
        return _short(
            "the call's answer: " + "; ".join(part for part in (str(answer.get("outcome") or ""), why) if part)
        )
    return _short(str(entry.get("text") or entry.get("output") or ""))


def _call(root: Tree, call: v1.Call, events: Iterable[v1.Event]) -> None:
    document = call_document(call)
    status = str(document["outcome"] or document["state"] or "proposed").replace("_", " ")
    title = _text(f"{document['tool']} on {document['host']}  {status}  {call.call_id}", "bold")
    branch = root.add(title)
    who = " for ".join(name for name in (document["agent"], document["user"]) if name)
    _line(branch, f"asked by {who or '-'}: {_short(document['intent'])}")
    if isinstance(arguments := document["arguments"], dict):
        for name, value in cast("Document", arguments).items():
            _line(branch, f"{name}: {_short(value_text(value))}")
    elif arguments is not None:
        _line(branch, f"arguments: {_short(value_text(arguments))}")
    _effects(branch, "declared", call.declared or call.proposal.action.expect)
    own = [event for event in events if event.subject == call.call_id]
    steps = branch.add(_text(f"steps, from {time_text(call.proposed_at)}", "cyan"))
    before = call.proposed_at
    for event in own:
        _step(steps, event, event.at - before)
        before = event.at
    applied = call.outcome == v1.Outcome.OUTCOME_APPLIED
    # A contact leaves the private copy: it is had, whatever becomes of the changes.
    had = [effect for effect in call.observation.effects if applied or _is_contact(effect)]
    _effects(branch, "observed", had, with_diff=True)
    if not applied:
        rest = [effect for effect in call.observation.effects if not _is_contact(effect)]
        _effects(branch, "observed on the private copy only", rest, with_diff=True)
    if net := net_words(document):
        _line(branch, net, "yellow")
    _effects(branch, "started", call.observation.looks)
    _effects(branch, "ended with the call", call.observation.ended)
    for one in document["unobserved"]:
        _line(branch, f"could not be observed: {one['kind']}: {one['why']}", "yellow")
    _masked(branch, call.observation)
    _refused(branch, call.observation)
    _side_effects(branch, call.side_effects)
    if document["scores"] is not None:
        _line(branch, f"scores: {score_words(document)}")
    _result(branch, document)
    if document["error"] is not None:
        _error(branch, document["error"])


def _step(steps: Tree, event: v1.Event, after_ns: int) -> None:
    after = f"+{duration_text(max(0, after_ns))}"
    match event.WhichOneof("kind"):
        case "call_proposed":
            attempt = event.call_proposed.proposal.author_attempt
            _line(steps, f"{after}  proposed{f', attempt {attempt} of its author' if attempt > 1 else ''}")
        case "call_refused":
            _line(steps, f"{after}  refused: {_short(event.call_refused.error.message)}", "red")
        case "call_decided":
            _decided(steps, event.call_decided, after)
        case "call_held":
            approval = event.call_held.approval
            line = _line(steps, f"{after}  held for a person: {_short(approval.why)}", "yellow")
            _line(line, f"approval {approval.approval_id}, {word(v1.ApprovalSubject, approval.subject)}")
            for policy in approval.policies:
                _line(line, f"policy {policy.id}: {_short(policy.reason)}", "dim")
        case "approval_decided":
            _line(steps, f"{after}  {_verdict(event.approval_decided)}", "bold")
        case "call_permitted":
            permit, consumed = event.call_permitted.permit, event.call_permitted.approval_id
            by = f", by approval {consumed}" if consumed else ""
            if event.call_permitted.grants:
                by = f", by standing grant {', '.join(event.call_permitted.grants)}"
            stage = word(v1.Stage, permit.stage)
            line = _line(steps, f"{after}  permit {permit.permit_id} for {stage}, attempt {permit.attempt}{by}")
            _effects(line, "permitted", permit.effects)
            if permit.masks.classes:
                but = f" but {', '.join(permit.masks.shown)}" if permit.masks.shown else ""
                _line(line, f"hides {' and '.join(permit.masks.classes)} from the command{but}", "dim")
        case "call_started":
            _line(steps, f"{after}  the host started")
        case "call_previewed":
            previewed = event.call_previewed
            line = _line(steps, f"{after}  previewed on a private copy")
            _effects(line, "would do", previewed.report.observation.effects, with_diff=True)
            if previewed.beyond:
                _side_effects(line, previewed.beyond)
        case "call_settled":
            _settled(steps, event.call_settled, after)
        case kind:
            _line(steps, f"{after}  {(kind or 'something newer').replace('_', ' ')}")


def _settled(steps: Tree, settled: v1.CallSettled, after: str) -> None:
    outcome = _outcome(settled.outcome)
    said = settled.reconciliation
    if not settled.HasField("reconciliation"):
        _line(steps, f"{after}  settled: {outcome}")
    elif said.measured == v1.Outcome.OUTCOME_UNSPECIFIED:
        away = ", without its host" if said.without_host else ""
        _line(steps, f"{after}  settled: {outcome} by the word of {said.by.user}{away}: {_short(said.why)}")
    elif said.measured == v1.Outcome.OUTCOME_UNKNOWN:
        _line(steps, f"{after}  the host cannot tell either: {outcome} stays the word of {said.by.user}")
    elif said.measured == said.outcome:
        _line(steps, f"{after}  the host measured: {outcome}, which confirms the word of {said.by.user}")
    else:
        words = f"{said.by.user}, who said {_outcome(said.outcome)} at {time_text(said.at)}"
        _line(steps, f"{after}  the host measured: {outcome}, which contradicts the word of {words}", "bold red")


def _outcome(outcome: v1.Outcome) -> str:
    return (word(v1.Outcome, outcome) or "-").replace("_", " ")


def _decided(steps: Tree, decided: v1.CallDecided, after: str) -> None:
    decision = decided.decision
    effect = (word(v1.PolicyEffect, decision.effect) or "malformed").replace("_", " ")
    line = _line(steps, f"{after}  decided: {effect}: {decision.reason}")
    parts = {"validated": decided.validate_ns, "predicted": decided.predict_ns, "authorised": decided.authorise_ns}
    _line(line, ", ".join(f"{name} in {duration_text(took)}" for name, took in parts.items()), "dim")
    policies = list(dict.fromkeys(policy.id for policy in decision.policies))
    level = word(v1.AutonomyLevel, decision.level)
    about = [f"policies {', '.join(policies) or 'none'} of {decision.policy_version[:12]}"]
    about += [f"first stage {word(v1.Stage, decision.stage) or 'none'}", *([f"level {level}"] if level else [])]
    _line(line, "; ".join(about), "dim")
    _effects(line, "predicted", decided.prediction.effects)
    for why in decided.prediction.unanalysable:
        _line(line, f"not known beforehand: {_short(why)}", "yellow")


def _verdict(decided: v1.ApprovalDecided) -> str:
    if not decided.HasField("decision"):
        return f"approval {word(v1.ApprovalStatus, decided.status)}"
    verdict = verdict_document(decided.decision)
    return verdict_words(verdict) + (f": {_short(verdict['comment'])}" if verdict["comment"] else "")


def _effects(branch: Tree, name: str, effects: Sequence[AnyEffect], *, with_diff: bool = False) -> None:
    if not effects:
        return
    line = branch.add(_text(name))
    for each in effects[:_SHOWN_EFFECTS]:
        document = effect_document(each)
        leaf = _line(line, _effect(document))
        if with_diff:
            _diff(leaf, document)
    if len(effects) > _SHOWN_EFFECTS:
        _line(line, f"and {len(effects) - _SHOWN_EFFECTS} more", "dim")


def _is_contact(effect: v1.ObservedEffect) -> bool:
    return is_contact(kind_name(effect.kind))


def _effect(document: Document) -> str:
    details = effect_details(document)
    return f"{document['kind']} {document['target']}{'  (' + '; '.join(details) + ')' if details else ''}"


def _diff(leaf: Tree, document: Document) -> None:
    file: Document = document.get("file") or {}
    lines = (file.get("text_diff") or "").splitlines()
    if not lines:
        if note := text_note(document, is_abridged=True):
            _line(leaf, note, "dim")
        return
    shown = lines[:_SHOWN_DIFF] + (["…"] if len(lines) > _SHOWN_DIFF or file.get("text_diff_truncated") else [])
    leaf.add(Text(visible("\n".join(line[:_SHOWN_TEXT] for line in shown)), style="dim"))


def _masked(branch: Tree, observation: v1.Observation) -> None:
    """What the command found unreadable."""
    if not observation.masked_count:
        return
    shown = observation.masked[:_SHOWN_EFFECTS]
    line = _line(branch, f"masked from the command: {observation.masked_count}")
    for path in shown:
        _line(line, path, "dim")
    if observation.masked_count > len(shown):
        _line(line, f"and {observation.masked_count - len(shown)} more", "dim")


def _refused(branch: Tree, observation: v1.Observation) -> None:
    """What the command tried and its confinement refused."""
    if not observation.attempts:
        return
    count = sum(attempt.count for attempt in observation.attempts) + observation.attempts_more
    line = _line(branch, f"refused by the confinement: {count}", "yellow")
    for attempt in observation.attempts:
        times = f"  (x{attempt.count})" if attempt.count > 1 else ""
        by = f"  by {attempt.program}" if attempt.program else ""
        _line(line, f"{attempt.what}{times}{by}", "yellow")
    if observation.attempts_more:
        _line(line, f"and {observation.attempts_more} more", "dim")


def _side_effects(branch: Tree, side_effects: Sequence[v1.SideEffect]) -> None:
    if not side_effects:
        return
    line = branch.add(_text("side effects", "red"))
    for each in side_effects[:_SHOWN_EFFECTS]:
        _line(line, _effect(side_effect_document(each)), "red")
    if len(side_effects) > _SHOWN_EFFECTS:
        _line(line, f"and {len(side_effects) - _SHOWN_EFFECTS} more", "red")


def _result(branch: Tree, document: Document) -> None:
    if document["result"] is None:
        return
    took = f" in {document['duration_ms']:g} ms" if document["duration_ms"] else ""
    line = _line(branch, f"result{took}{', confined by ' + document['confinement'] if document['confinement'] else ''}")
    if not isinstance(document["result"], dict):
        _line(line, _short(value_text(document["result"])))
        return
    for name, value in cast("Document", document["result"]).items():
        if value not in (None, False, "", 0, []) or name == "exit_code":
            _line(line, f"{name}: {_short(value_text(value))}")


def _error(branch: Tree, error: Document) -> None:
    line = _line(branch, f"error {error['reason']}: {error['message']}", "red")
    for fault in error["violations"]:
        found = f"found {_short(fault['found'])}, " if fault["found"] else ""
        _line(line, f"{fault['pointer'] or '/'}: {found}expected {fault['expected']}")
    for policy in error["policies"]:
        _line(line, f"policy {policy['id']}: {policy['reason']}")
    if (remedy := error["remedy"]) is not None:
        details = ", ".join(f"{name} {_short(value_text(value))}" for name, value in remedy.items() if name != "kind")
        _line(line, f"remedy: {remedy['kind']} {details}".rstrip())


def _line(branch: Tree, text: str, style: str = "") -> Tree:
    return branch.add(_text(text, style))


def _text(text: str, style: str = "") -> Text:
    return Text(in_row(text), style=style)


def _short(text: str) -> str:
    """A text on one line, cut."""
    flat = " ⏎ ".join(line for line in text.splitlines() if line.strip())
    return flat if len(flat) <= _SHOWN_TEXT else f"{flat[:_SHOWN_TEXT]}… ({len(text)} characters)"


def _object(text: str) -> Document:
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return {}
    return cast("Document", value) if isinstance(value, dict) else {}


def _entries(text: str) -> list[Document]:
    try:
        return _objects(json.loads(text or "null"))
    except (ValueError, RecursionError):
        return [{"text": text}]


def _objects(value: Any) -> list[Document]:
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [each for each in found if isinstance(each, dict)]
