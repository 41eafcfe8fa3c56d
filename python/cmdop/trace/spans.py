"""A trace as spans: run, model turns, calls and the steps of each call, with the times of their events.

Ids are digests of what a span is about, so that a run and its calls may be exported one by one, by
whichever process, and still come together as one trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cmdop import v1
from cmdop.document import kind_name, word
from cmdop.document.render import AnyEffect
from cmdop.errors import reason_name
from cmdop.trace import conventions as names

Value: TypeAlias = str | bool | int | float | Sequence[str]

LONGEST_TEXT: Final = 8_192
"""Longer texts are cut: collectors refuse large spans. The ledger keeps them whole."""
MOST_EFFECTS: Final = 128


@dataclass(frozen=True, slots=True)
class Span:
    """One span, before any library of OpenTelemetry is involved."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    start: int
    """Nanoseconds since the Unix epoch."""
    end: int
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    error: str = ""
    """Why it failed; empty if it did not."""
    is_client: bool = False
    """A request to another service, such as a model."""


def trace_spans(trace: v1.Trace) -> list[Span]:
    """Spans of everything in a trace: of a run with its turns and calls, or of one call."""
    return [*run_spans(trace), *(span for call in trace.calls for span in call_spans(call, trace.events))]


def run_spans(trace: v1.Trace) -> list[Span]:
    """Spans of a run and its model turns, without its calls. Empty for the trace of a call alone."""
    if not trace.HasField("run"):
        return []
    run, trace_id = trace.run, _trace_id(trace.run.run_id)
    last = max((event.at for event in trace.events), default=run.started_at)
    failed = run.status not in (v1.RunStatus.RUN_STATUS_FINISHED, v1.RunStatus.RUN_STATUS_RUNNING)
    root = Span(
        trace_id,
        _span_id("run", run.run_id),
        None,
        f"{names.INVOKE_AGENT} {run.actor.agent}".rstrip(),
        run.started_at,
        run.finished_at or last,
        _given(
            {
                names.OPERATION: names.INVOKE_AGENT,
                names.REQUEST_MODEL: run.model,
                names.OURS + "run.id": run.run_id,
                names.OURS + "run.task": run.task,
                names.OURS + "run.status": word(v1.RunStatus, run.status),
                names.OURS + "run.turns": run.turns,
                names.OURS + "run.final_output": run.final_output,
            }
            | _actor(run.actor)
        ),
        error=(run.why or "it did not finish") if failed else "",
    )
    turns = (event for event in trace.events if event.HasField("turn_recorded"))
    return [root, *(_turn(event, trace_id, root.span_id) for event in turns)]


def _turn(event: v1.Event, trace_id: int, parent: int) -> Span:
    turn = event.turn_recorded.turn
    return Span(
        trace_id,
        _span_id("turn", f"{turn.run_id}/{turn.turn}"),
        parent,
        f"{names.CHAT} {turn.model}".rstrip(),
        event.at - turn.duration_ns,
        event.at,
        _given(
            {
                names.OPERATION: names.CHAT,
                names.REQUEST_MODEL: turn.model,
                names.INPUT_TOKENS: turn.input_tokens,
                names.OUTPUT_TOKENS: turn.output_tokens,
                names.OURS + "turn": turn.turn,
                names.OURS + "turn.prompt": turn.prompt_json,
                names.OURS + "turn.response": turn.response_json,
                names.OURS + "turn.calls": list(turn.model_call_ids),
            }
        ),
        is_client=True,
    )


def call_spans(call: v1.Call, events: Iterable[v1.Event]) -> list[Span]:
    """Spans of a call and its steps. Events of other calls are passed over."""
    own = [event for event in events if event.subject == call.call_id]
    run_id = call.proposal.actor.run
    trace_id = _trace_id(run_id or call.call_id)
    last = max((event.at for event in own), default=call.proposed_at)
    tool = call.proposal.action.tool
    root = Span(
        trace_id,
        _span_id("call", call.call_id),
        _span_id("run", run_id) if run_id else None,
        f"{names.EXECUTE_TOOL} {tool}".rstrip(),
        call.proposed_at,
        call.settled_at or last,
        _given(_call(call)),
        error=call.error.message if call.HasField("error") else "",
    )
    return [root, *_steps(own, root)]


def _call(call: v1.Call) -> dict[str, Value | None]:
    action, ours = call.proposal.action, names.OURS
    attributes: dict[str, Value | None] = {
        names.OPERATION: names.EXECUTE_TOOL,
        names.TOOL_NAME: action.tool,
        names.TOOL_TYPE: "function",
        names.TOOL_CALL: call.proposal.model_call_id,
        names.TOOL_ARGUMENTS: action.arguments_json,
        names.TOOL_RESULT: call.result.result_json,
        names.ERROR_TYPE: reason_name(call.error.reason) if call.HasField("error") else None,
        ours + "call.id": call.call_id,
        ours + "call.host": action.host,
        ours + "call.intent": action.intent,
        ours + "call.state": word(v1.CallState, call.state),
        ours + "call.outcome": word(v1.Outcome, call.outcome),
        ours + "call.attempt": call.attempt,
        ours + "call.author_attempt": call.proposal.author_attempt,
        ours + "call.action_digest": call.action_digest,
        ours + "permits": [permit.permit_id for permit in call.permits],
        ours + "effects.declared": _effects(call.declared),
        ours + "effects.predicted": _effects(call.prediction.effects),
        ours + "effects.unanalysable": list(call.prediction.unanalysable),
        ours + "effects.permitted": _effects(call.permits[-1].effects if call.permits else call.decision.permitted),
        ours + "effects.observed": _effects(call.observation.effects),
        ours + "effects.looks": _effects(call.observation.looks),
        ours + "effects.ended": _effects(call.observation.ended),
        ours + "attempts.refused": [attempt.what for attempt in call.observation.attempts],
        ours + "effects.unobserved": [kind_name(one.kind) for one in call.observation.unobserved],
        ours + "side_effects": _effects(one.effect for one in call.side_effects),
        ours + "side_effects.severity": [word(v1.Severity, one.severity) or "none" for one in call.side_effects],
    }
    attributes |= _actor(call.proposal.actor)
    if call.HasField("decision"):
        attributes |= _decision(call.decision)
    if call.HasField("approval"):
        attributes |= _approval(call.approval)
    if call.HasField("score"):
        attributes |= _score(call.score)
    if call.HasField("result"):
        attributes |= {ours + "confinement": call.result.confinement, ours + "duration_ns": call.result.duration_ns}
    return attributes


def _steps(events: Sequence[v1.Event], root: Span) -> Iterator[Span]:
    """One span a step. It lasts from the step before to its own event; waiting lasts until it ends."""
    before = root.start
    for index, event in enumerate(events):
        kind = event.WhichOneof("kind") or "unknown"
        name = kind.removeprefix("call_")
        start, end = before, event.at
        before = event.at
        if kind == "approval_decided":
            # It is the end of the step `held`.
            continue
        attributes: dict[str, Value | None] = {names.OURS + "step": name}
        match kind:
            case "call_decided":
                decided = event.call_decided
                attributes |= _decision(decided.decision)
                for part in ("validate_ns", "predict_ns", "authorise_ns"):
                    attributes[names.OURS + part] = getattr(decided, part)
            case "call_held":
                attributes |= _approval(event.call_held.approval)
                start = event.at
                end, decision = _waited(events[index:], event)
                attributes |= decision
            case "call_permitted":
                permit = event.call_permitted.permit
                attributes |= _permit(permit, event.call_permitted.approval_id)
            case "call_previewed":
                report = event.call_previewed.report
                attributes[names.OURS + "effects.observed"] = _effects(report.observation.effects)
                beyond = event.call_previewed.beyond
                attributes[names.OURS + "side_effects"] = _effects(one.effect for one in beyond)
            case "call_settled":
                settled = event.call_settled
                attributes[names.OURS + "call.outcome"] = word(v1.Outcome, settled.outcome)
                if _commits(events[:index]) and settled.outcome == v1.Outcome.OUTCOME_APPLIED:
                    yield _step(root, index, "committed", start, end, {names.OURS + "step": "committed"})
                    start = end
            case _:
                pass
        yield _step(root, index, name, start, end, attributes)


def _step(root: Span, index: int, name: str, start: int, end: int, attributes: Mapping[str, Value | None]) -> Span:
    span_id = _span_id("step", f"{root.span_id:x}/{index}/{name}")
    # The clock of a machine may step back between two events; a span must not.
    return Span(root.trace_id, span_id, root.span_id, name, start, max(start, end), _given(attributes))


def _waited(events: Sequence[v1.Event], held: v1.Event) -> tuple[int, dict[str, Value | None]]:
    """When a person decided, and what. A call that is still held has waited until its last event."""
    for event in events:
        decided = event.approval_decided
        if event.HasField("approval_decided") and decided.approval_id == held.call_held.approval.approval_id:
            status = word(v1.ApprovalStatus, decided.status)
            return event.at, {names.OURS + "approval.status": status} | _approver(decided.decision)
    return max(held.at, events[-1].at), {}


def _commits(events: Sequence[v1.Event]) -> bool:
    return any(event.call_permitted.permit.stage == v1.Stage.STAGE_COMMIT for event in events)


def _decision(decision: v1.Decision) -> dict[str, Value | None]:
    return {
        names.OURS + "decision": word(v1.PolicyEffect, decision.effect),
        names.OURS + "decision.policies": list(dict.fromkeys(policy.id for policy in decision.policies)),
        names.OURS + "decision.reason": decision.reason,
        names.OURS + "decision.stage": word(v1.Stage, decision.stage),
        names.OURS + "decision.level": word(v1.AutonomyLevel, decision.level),
        names.OURS + "decision.policy_version": decision.policy_version,
    }


def _approval(approval: v1.Approval) -> dict[str, Value | None]:
    found: dict[str, Value | None] = {
        names.OURS + "approval.id": approval.approval_id,
        names.OURS + "approval.subject": word(v1.ApprovalSubject, approval.subject),
        names.OURS + "approval.status": word(v1.ApprovalStatus, approval.status),
        names.OURS + "approval.why": approval.why,
        names.OURS + "approval.digest": approval.digest,
    }
    return found | (_approver(approval.decision) if approval.HasField("decision") else {})


def _approver(decision: v1.ApprovalDecision) -> dict[str, Value | None]:
    return {
        names.OURS + "approval.verdict": word(v1.ApprovalVerdict, decision.verdict),
        names.OURS + "approval.approver": decision.approver,
        names.OURS + "approval.comment": decision.comment,
    }


def _permit(permit: v1.Permit, approval_id: str) -> dict[str, Value | None]:
    return {
        names.OURS + "permit.id": permit.permit_id,
        names.OURS + "permit.stage": word(v1.Stage, permit.stage),
        names.OURS + "permit.attempt": permit.attempt,
        names.OURS + "approval.id": approval_id,
        names.OURS + "effects.permitted": _effects(permit.effects),
    }


def _score(score: v1.Score) -> dict[str, Value | None]:
    return {
        names.OURS + "score.validity": score.validity,
        names.OURS + "score.success": score.success if score.HasField("success") else None,
        names.OURS + "score.side_effects": score.side_effects,
        names.OURS + "score.side_effect_weight": score.side_effect_weight,
        names.OURS + "score.severity": word(v1.Severity, score.severity) or "none",
        names.OURS + "score.clean": score.clean,
    }


def _actor(actor: v1.Actor) -> dict[str, Value | None]:
    return {names.AGENT_NAME: actor.agent, names.CONVERSATION: actor.session, names.USER: actor.user}


def _effects(effects: Iterable[AnyEffect]) -> list[str]:
    shown = [f"{kind_name(effect.kind)}:{effect.target}" for effect in effects]
    more = len(shown) - MOST_EFFECTS
    return [*shown[:MOST_EFFECTS], f"and {more} more"] if more > 0 else shown


def _given(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """What was set. Zero and False say something, an empty text does not."""
    found: dict[str, Value] = {}
    for name, value in attributes.items():
        if value is None or value == "" or (isinstance(value, list) and not value):
            continue
        found[name] = _cut(value) if isinstance(value, str) else value
    return found


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"


def _trace_id(about: str) -> int:
    return int.from_bytes(hashlib.sha256(f"cmdop.trace\0{about}".encode()).digest()[:16]) or 1


def _span_id(kind: str, about: str) -> int:
    return int.from_bytes(hashlib.sha256(f"cmdop.{kind}\0{about}".encode()).digest()[:8]) or 1
