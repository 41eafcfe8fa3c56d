"""From messages to dictionaries that `json.dumps` takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias, cast

from google.protobuf.message import Message

from cmdop import v1
from cmdop.document.words import kind_name, time_text, word

Document: TypeAlias = dict[str, Any]
AnyEffect: TypeAlias = v1.ExpectedEffect | v1.PredictedEffect | v1.PermittedEffect | v1.ObservedEffect


def call_document(call: v1.Call) -> Document:
    """A call as `cmdop call --json` prints it.

    `outcome` is null until the call is settled; `state` says where it is. `approval_id` names the
    pending approval of a held call. `decision` is the one that counts now: of a call that its preview
    got held or refused, what holds or refuses it; it stays `require_approval` after `approval` says
    who approved.
    """
    action = call.proposal.action
    return {
        "call_id": call.call_id,
        "state": word(v1.CallState, call.state),
        "outcome": word(v1.Outcome, call.outcome),
        "tool": action.tool,
        "host": action.host,
        "intent": action.intent,
        "arguments": _json(action.arguments_json),
        "agent": call.proposal.actor.agent or None,
        "user": call.proposal.actor.user or None,
        "run": call.proposal.actor.run or None,
        "idempotency_key": call.proposal.idempotency_key or None,
        "decision": decision_document(call.decision) if call.HasField("decision") else None,
        "predicted": [effect_document(effect) for effect in call.prediction.effects],
        "unanalysable": list(call.prediction.unanalysable),
        "declared": [effect_document(effect) for effect in call.declared],
        "observed": [effect_document(effect) for effect in call.observation.effects],
        "refused": _attempt_documents(call.observation),
        "refused_more": call.observation.attempts_more,
        "looks": [effect_document(effect) for effect in call.observation.looks],
        "ended": [effect_document(effect) for effect in call.observation.ended],
        "unobserved": [{"kind": kind_name(one.kind), "why": one.why} for one in call.observation.unobserved],
        "masked": {"count": call.observation.masked_count, "paths": list(call.observation.masked)},
        "side_effects": [side_effect_document(effect) for effect in call.side_effects],
        "scores": score_document(call.score) if call.HasField("score") else None,
        "result": _json(call.result.result_json) if call.HasField("result") else None,
        "confinement": call.result.confinement or None,
        "duration_ms": round(call.result.duration_ns / 1e6, 3) if call.HasField("result") else None,
        "error": error_document(call.error) if call.HasField("error") else None,
        "replaced_by": call.replaced_by or None,
        "replaces": call.proposal.replaces.call_id or None,
        "approval_id": call.approval.approval_id or None,
        "approval": _answer_document(call.approval) if call.HasField("approval") else None,
        "reconciliation": _word_document(call.reconciliation) if call.HasField("reconciliation") else None,
        "proposed_at": time_text(call.proposed_at),
        "settled_at": time_text(call.settled_at),
        "abridged": abridged_documents(call.abridged),
    }


def _word_document(said: v1.Reconciliation) -> Document:
    """By whose word a call of unknown outcome was settled, and what its host measured if it reported that later.

    `contradicted` is null while nothing was measured.
    """
    measured = word(v1.Outcome, said.measured)
    is_measured = measured not in (None, "unknown")
    return {
        "by": said.by.user,
        "why": said.why,
        "outcome": word(v1.Outcome, said.outcome),
        "at": time_text(said.at),
        "without_host": said.without_host,
        "measured": measured,
        "measured_at": time_text(said.measured_at),
        "contradicted": said.measured != said.outcome if is_measured else None,
    }


def abridged_documents(abridged: Iterable[v1.Abridged]) -> list[Document]:
    """What was cut of a message, with its full size: `count` is of a list's elements, else null."""
    return [
        {"pointer": one.pointer, "bytes": one.bytes, "count": one.count or None, "sha256": one.sha256 or None}
        for one in abridged
    ]


def decision_document(decision: v1.Decision) -> Document:
    """`effect` is `allow`, `deny` or `require_approval`; `policies` are ids, most specific first."""
    return {
        "effect": word(v1.PolicyEffect, decision.effect),
        "policies": list(dict.fromkeys(policy.id for policy in decision.policies)),
        "reason": decision.reason,
        "level": word(v1.AutonomyLevel, decision.level),
        "stage": word(v1.Stage, decision.stage),
        "permitted": [effect_document(effect) for effect in decision.permitted],
        "masks": {"classes": list(decision.masks.classes), "shown": list(decision.masks.shown)},
        "policy_version": decision.policy_version,
        "grants": list(decision.grants),
    }


def effect_document(effect: AnyEffect) -> Document:
    """An effect of any of the four sets: `kind`, `target`, and what that set knows besides."""
    out: Document = {"kind": kind_name(effect.kind), "target": effect.target}
    match effect:
        case v1.ExpectedEffect():
            out["min_count"] = effect.min_count if effect.HasField("min_count") else 1
            out["max_count"] = effect.max_count if effect.HasField("max_count") else None
        case v1.PredictedEffect():
            out |= {"certain": effect.certain, "source": effect.source, "containable": effect.containable}
        case v1.PermittedEffect():
            out["max_count"] = effect.max_count if effect.HasField("max_count") else None
        case v1.ObservedEffect():
            out |= {"count": effect.count, "bytes": effect.bytes, "reversible": effect.reversible}
            if effect.HasField("file"):
                out["file"] = _file_document(effect.file)
            if effect.HasField("process"):
                out["process"] = _process_document(effect.process)
    return out


def _file_document(change: v1.FileChange) -> Document:
    return {
        "before": _state_document(change.before) if change.HasField("before") else None,
        "after": _state_document(change.after) if change.HasField("after") else None,
        "text_diff": change.text_diff or None,
        "text_diff_truncated": change.text_diff_truncated,
        "renamed": change.renamed or None,
        "linked": change.linked or None,
    }


def _process_document(process: v1.ProcessChange) -> Document:
    return {
        "program": process.program,
        "arguments": list(process.arguments),
        "arguments_truncated": process.arguments_truncated,
        "sha256": process.sha256 or None,
        "pid": process.pid or None,
        "name": process.name or None,
    }


def _state_document(state: v1.FileState) -> Document:
    out: Document = {
        "type": word(v1.FileType, state.type),
        "size": state.size,
        "mode": f"{state.mode:04o}",
        "uid": state.uid,
        "gid": state.gid,
    }
    if state.sha256:
        out["sha256"] = state.sha256
    if state.link_target:
        out["link_target"] = state.link_target
    if state.xattrs:
        out["xattrs"] = [_attribute_document(attribute) for attribute in state.xattrs]
    return out


def _attribute_document(attribute: v1.FileAttribute) -> Document:
    """`value` is null where it is not shown, as of a secret file."""
    value = attribute.shown if attribute.HasField("shown") else None
    return {"name": attribute.name, "value": value, "sha256": attribute.sha256 or None}


def side_effect_document(side_effect: v1.SideEffect) -> Document:
    """An observed effect beyond the permit, with its severity."""
    return effect_document(side_effect.effect) | {
        "severity": word(v1.Severity, side_effect.severity),
        "why": side_effect.why,
    }


def observation_document(observation: v1.Observation) -> Document:
    """Everything a host measured, with what it could not."""
    return {
        "effects": [effect_document(effect) for effect in observation.effects],
        "refused": _attempt_documents(observation),
        "refused_more": observation.attempts_more,
        "looks": [effect_document(effect) for effect in observation.looks],
        "ended": [effect_document(effect) for effect in observation.ended],
        "unobserved": [{"kind": kind_name(one.kind), "why": one.why} for one in observation.unobserved],
        "digest": observation.digest,
        "truncated": observation.truncated,
    }


def _attempt_documents(observation: v1.Observation) -> list[Document]:
    """What was tried beyond the confinement and refused: the system call or channel, by whom, how often."""
    return [
        {"what": attempt.what, "program": attempt.program or None, "count": attempt.count}
        for attempt in observation.attempts
    ]


def score_document(score: v1.Score) -> Document:
    """The three axes and what weighs them. `success` is null if nothing ran."""
    return {
        "validity": score.validity,
        "success": score.success if score.HasField("success") else None,
        "side_effects": score.side_effects,
        "severity": word(v1.Severity, score.severity),
        "weight": score.side_effect_weight,
        "clean": score.clean,
    }


def error_document(error: v1.Error) -> Document:
    """An error with its remedy, its violations and the policies that refused."""
    from cmdop.errors import reason_name

    return {
        "reason": reason_name(error.reason),
        "message": error.message,
        "remedy": remedy_document(error.remedy),
        "violations": [
            {
                "reason": reason_name(violation.reason),
                "pointer": violation.pointer,
                "expected": violation.expected,
                "found": violation.found,
                "remedy": remedy_document(violation.remedy),
            }
            for violation in error.violations
        ],
        "policies": [_policy_document(policy) for policy in error.policies],
        "call_id": error.call_id or None,
        "refused": [*dict.fromkeys(error.refused)],
    }


def _policy_document(policy: v1.PolicyRef) -> Document:
    return {"id": policy.id, "reason": policy.reason, "remedy": policy.remedy or None, "effect": policy.effect or None}


def remedy_document(remedy: v1.Remedy) -> Document | None:
    """`{"kind": "fix_arguments", "path": …, "expected": …, "change": {"value": …}}`; None if there is no remedy.

    `new_key` is there and true where the key of the call is spent: what is mended is proposed under another.
    """
    kind = remedy.WhichOneof("kind")
    if kind is None:
        return None
    out: Document = {"kind": kind}
    body: Message = getattr(remedy, kind)
    for field in body.DESCRIPTOR.fields:
        value: Any = getattr(body, field.name)
        if field.containing_oneof is not None:
            continue
        if not isinstance(value, str | int):
            value = [item if isinstance(item, str | int) else effect_document(item) for item in value]
        out[field.name] = value
    if remedy.new_key:
        out["new_key"] = True
    return out | _certain_document(remedy)


def _certain_document(remedy: v1.Remedy) -> Document:
    """What a machine may do without asking its author, where that is known."""
    fix, tool = remedy.fix_arguments, remedy.use_tool
    match fix.WhichOneof("change"), tool.WhichOneof("arguments"):
        case "value_json", _:
            return {"change": {"value": json.loads(fix.value_json)}}
        case "remove", _:
            return {"change": {"remove": True}}
        case "rename", _:
            return {"change": {"rename": fix.rename}}
        case _, "same":
            return {"arguments": "same"}
        case _, "arguments_json":
            return {"arguments": json.loads(tool.arguments_json)}
        case _:
            return {}


def approval_document(approval: v1.Approval) -> Document:
    """An approval with everything its approver must see, the exact diff included."""
    decision = approval.decision
    return {
        "approval_id": approval.approval_id,
        "call_id": approval.call_id,
        "subject": word(v1.ApprovalSubject, approval.subject),
        "status": word(v1.ApprovalStatus, approval.status),
        "digest": approval.digest,
        "tool": approval.action.tool,
        "host": approval.action.host,
        "intent": approval.action.intent,
        "arguments": _json(approval.action.arguments_json),
        "declared": [effect_document(effect) for effect in approval.action.expect],
        "requester": {
            "user": approval.requester.user or None,
            "agent": approval.requester.agent or None,
            "run": approval.requester.run or None,
            "session": approval.requester.session or None,
        },
        "author": approval.author or None,
        "why": approval.why,
        "policies": [_policy_document(policy) for policy in approval.policies],
        "effects": [effect_document(effect) for effect in approval.effects],
        "diff": observation_document(approval.diff) if approval.HasField("diff") else None,
        "beyond": [side_effect_document(effect) for effect in approval.beyond],
        "irreversible": list(approval.irreversible),
        "confirm": approval.confirm or None,
        "quorums": [quorum_document(quorum) for quorum in approval.quorums],
        "missing": max((_missing(quorum) for quorum in approval.quorums), default=0),
        "answers": [verdict_document(answer) for answer in approval.answers],
        "void_cause": word(v1.VoidCause, approval.void_cause),
        "policy_version": approval.policy_version,
        "created_at": time_text(approval.created_at),
        "expires_at": time_text(approval.expires_at),
        "decision": verdict_document(decision) if approval.HasField("decision") else None,
        "abridged": abridged_documents(approval.abridged),
    }


def quorum_document(quorum: v1.Quorum) -> Document:
    """Who must agree because of one policy: `missing` more of `group`, or of anybody if that is null."""
    here = quorum.chain[quorum.step] if quorum.step < len(quorum.chain) else v1.ApproverStep()
    return {
        "policy": quorum.policy or None,
        "needed": quorum.needed,
        "approved_by": list(quorum.approved_by),
        "missing": _missing(quorum),
        "group": here.group or None,
        "next": [step.group for step in quorum.chain[quorum.step + 1 :]],
        "expires_at": time_text(quorum.expires_at),
    }


def _missing(quorum: v1.Quorum) -> int:
    return max(0, quorum.needed - len(quorum.approved_by))


def _answer_document(approval: v1.Approval) -> Document:
    """What was asked about a call, in short, and what a person answered."""
    verdict = verdict_document(approval.decision) if approval.HasField("decision") else {}
    return {
        "approval_id": approval.approval_id,
        "subject": word(v1.ApprovalSubject, approval.subject),
        "status": word(v1.ApprovalStatus, approval.status),
        "why": approval.why,
    } | {name: verdict.get(name) for name in ("verdict", "approver", "comment", "decided_at")}


def verdict_document(decision: v1.ApprovalDecision) -> Document:
    """What a person answered."""
    return {
        "verdict": word(v1.ApprovalVerdict, decision.verdict),
        "approver": decision.approver,
        "comment": decision.comment or None,
        "decided_at": time_text(decision.decided_at),
    }


def host_document(host: v1.Host) -> Document:
    """A host and what it was found to be able to do."""
    return {
        "name": host.name,
        "attached": host.attached,
        "attached_at": time_text(host.attached_at),
        "workspaces": list(host.workspaces),
        "labels": dict(host.labels),
        "tools": list(host.tools),
        "fixture": host.fixture,
        "kernel": host.kernel,
        "version": host.version,
        "home": host.home,
        "capabilities": [
            {"name": one.name, "available": one.available, "detail": one.detail} for one in host.capabilities
        ],
    }


def tool_document(tool: v1.ToolContract) -> Document:
    """A tool's contract with its JSON Schemas as objects."""
    return {
        "name": tool.name,
        "description": tool.description,
        "arguments_schema": _json(tool.arguments_schema),
        "result_schema": _json(tool.result_schema),
        "effect_source": word(v1.EffectSource, tool.effect_source),
        "idempotency": word(v1.Idempotency, tool.idempotency),
        "version": tool.version,
    }


def run_document(run: v1.Run) -> Document:
    """A run of an agent."""
    return {
        "run_id": run.run_id,
        "agent": run.actor.agent or None,
        "user": run.actor.user or None,
        "task": run.task,
        "model": run.model,
        "status": word(v1.RunStatus, run.status),
        "turns": run.turns,
        "final_output": run.final_output or None,
        "why": run.why or None,
        "parent": run.parent or None,
        "started_at": time_text(run.started_at),
        "finished_at": time_text(run.finished_at),
    }


DEEPEST: Final = 100
"""JSON that nests deeper is shown as text: who prints it goes as deep as it does."""
LONGEST_TEXT: Final = 16_384
"""What is no JSON is cut to this many characters."""


def _json(text: str) -> Any:
    """What a field of JSON text holds. Text that is not JSON, or nests too deeply, is shown as it is, cut."""
    if not text:
        return None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _cut(text)
    return value if _nests_within(value, DEEPEST) else _cut(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _nests_within(value: Any, levels: int) -> bool:
    level: list[Any] = [value]
    while level and levels >= 0:
        levels -= 1
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += cast("dict[str, Any]", each).values()
            elif isinstance(each, list):
                inner += cast("list[Any]", each)
        level = inner
    return not level


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"
