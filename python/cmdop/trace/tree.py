"""A trace for people: what was asked, decided, permitted, done and measured, in order."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from rich.tree import Tree

from cmdop import v1
from cmdop.document import call_document
from cmdop.trace.document import trace_document

_STEPS = {
    "call_proposed": "proposed",
    "call_refused": "refused",
    "call_decided": "decided",
    "call_held": "held for a person",
    "approval_decided": "a person decided",
    "call_permitted": "permit signed",
    "call_started": "the host started",
    "call_previewed": "previewed on a private copy",
    "call_settled": "settled",
    "turn_recorded": "the model answered",
    "run_started": "run started",
    "run_finished": "run finished",
}


def trace_tree(trace: v1.Trace) -> Tree:
    """The trace as a tree. Text of an agent or a machine is shown, never interpreted."""
    title = f"run {trace.run.run_id}: {trace.run.task}" if trace.HasField("run") else "trace"
    root = Tree(Text(title, style="bold"))
    for event in trace_document(trace)["events"]:
        if event["kind"].startswith(("turn_", "run_")):
            line = root.add(_line(event))
            _fields(line, event["content"].get("turn", {}), ("model", "prompt_json", "response_json"))
    for call in trace.calls:
        _call(root, call, [event for event in trace_document(trace)["events"] if event["subject"] == call.call_id])
    return root


def _call(root: Tree, call: v1.Call, events: list[dict[str, Any]]) -> None:
    document = call_document(call)
    branch = root.add(
        Text(f"{document['tool']} on {document['host']}  {document['outcome'] or document['state']}", style="bold")
    )
    _fields(branch, document, ("call_id", "intent", "arguments"))
    steps = branch.add(Text("steps"))
    for event in events:
        steps.add(_line(event))
    decision: dict[str, Any] = document.get("decision") or {}
    if decision:
        line = branch.add(Text(f"decision: {decision['effect']}  {decision['reason']}"))
        _fields(line, decision, ("policies", "stage", "level", "policy_version"))
    for name in ("declared", "predicted", "unanalysable", "observed", "side_effects"):
        if document.get(name):
            line = branch.add(Text(name.replace("_", " ")))
            for each in document[name]:
                line.add(Text(each if isinstance(each, str) else _effect(each)))
    _fields(branch, document, ("scores", "result", "error"))


def _effect(effect: dict[str, Any]) -> str:
    inner: dict[str, Any] = effect["effect"] if isinstance(effect.get("effect"), dict) else effect
    extra = "  ".join(f"{key} {effect[key]}" for key in ("count", "severity", "why") if effect.get(key))
    return f"{inner['kind']}:{inner['target']}  {extra}".rstrip()


def _line(event: dict[str, Any]) -> Text:
    kind: str = event["kind"]
    return Text.assemble((_STEPS.get(kind, kind), "cyan"), f"  {event['at']}  +{event['after_ms']} ms")


def _fields(branch: Tree, values: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if values.get(name) not in (None, "", [], {}):
            branch.add(Text(f"{name}: {values[name]}"))
