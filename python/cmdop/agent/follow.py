"""What a machine does about an error: it follows the remedy, and asks nobody what was meant."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cmdop import v1
from cmdop.document import effect_document


@dataclass(frozen=True, slots=True)
class Again:
    """Propose this action instead, under a new key."""

    action: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Later:
    """Propose the same action again."""

    after_s: float
    new_key: bool
    """Under a new key: its own is spent."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A person decides; nothing is to be mended."""

    approval_id: str


@dataclass(frozen=True, slots=True)
class Look:
    """Find out what became of this call before anything else."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No machine can go on: there is nothing to do, or only the author knows what was meant."""

    why: str


Step: TypeAlias = Again | Later | Wait | Look | Stop


def follow(action: Mapping[str, Any], error: v1.Error) -> Step:
    """The next step after an error, by its remedy alone.

    Args:
        action: The action that failed, as its JSON object: `{tool, host, intent, arguments, expect}`. What stands
            at `arguments` may be text that could not be read.
        error: Why it failed.

    Returns:
        What to do. The action that is given is never changed.
    """
    # A malformed call is mended whole: each of its faults has a remedy of its own.
    remedies = [violation.remedy for violation in error.violations] or [error.remedy]
    mended, removed = copy.deepcopy(dict(action)), list[str]()
    for remedy in remedies:
        match remedy.WhichOneof("kind"):
            case "fix_arguments":
                fix = remedy.fix_arguments
                if not fix.WhichOneof("change"):
                    return Stop(f"only the author knows what was meant at {fix.path or 'the call'}: {fix.expected}")
                removed += [fix.path] if fix.remove else []
                try:
                    mended = _changed(mended, fix)
                except (LookupError, TypeError, ValueError):
                    return Stop(f"the action has nothing at {fix.path}")
            case "use_tool":
                tool = remedy.use_tool
                if not tool.WhichOneof("arguments"):
                    return Stop(f"only the author knows what does the same with {tool.name}")
                mended["tool"] = tool.name
                if tool.arguments_json:
                    mended["arguments"] = json.loads(tool.arguments_json)
            case "declare_effect":
                effects = [effect_document(effect) for effect in remedy.declare_effect.effects]
                mended["expect"] = [*mended.get("expect", ()), *effects]
            case "narrow_effect":
                if not remedy.narrow_effect.refused:
                    return Stop(f"only the author knows what to aim at instead of {remedy.narrow_effect.predicted}")
                removed += [f"/expect/{index}" for index in remedy.narrow_effect.refused]
            case "retry_after":
                return Later(remedy.retry_after.ms / 1000, remedy.retry_after.new_key)
            case "request_approval":
                return Wait(remedy.request_approval.approval_id)
            case "reconcile":
                return Look(remedy.reconcile.call_id)
            case _:
                return Stop(remedy.stop.why or "the error names no remedy")
    try:
        # From the last on: what is taken out of a list moves the rest.
        for path in reversed(removed):
            holder, name = _place(mended, path)
            del holder[name]
    except (LookupError, TypeError, ValueError):
        return Stop("the action has not what its error names")
    return Again(mended)


def _changed(action: dict[str, Any], fix: v1.FixArguments) -> dict[str, Any]:
    if fix.remove:
        return action
    if not fix.path:
        return dict(json.loads(fix.value_json))
    holder, name = _place(action, fix.path)
    if fix.rename:
        holder[fix.rename] = holder.pop(name)
    else:
        holder[name] = json.loads(fix.value_json)
    return action


def _place(action: Any, path: str) -> tuple[Any, Any]:
    """What holds the place of a JSON pointer (RFC 6901), and the place's name or index in it."""
    *above, last = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    holder = action
    for step in above:
        holder = holder[int(step) if isinstance(holder, list) else step]
    return holder, int(last) if isinstance(holder, list) else last
