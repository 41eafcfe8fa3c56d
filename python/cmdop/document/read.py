"""From dictionaries to messages: the JSON of an action, as a person or a model writes it.

Only the shape is checked here, all faults at once; what the words mean is checked by the server.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, cast

from cmdop import v1
from cmdop.document.words import KINDS
from cmdop.errors import MalformedJsonError


class Expect(NamedTuple):
    """A change or contact that an action will have.

    `Expect("file.delete", "/srv/app/logs/*.gz", max_count=500)`
    """

    kind: str
    """Text form of the effect kind."""
    target: str
    """Region in the target grammar of its kind; file paths may be relative to the call's `cwd`."""
    min_count: int | None = None
    """How often it must be observed at least; None means once, 0 says "may happen"."""
    max_count: int | None = None
    """How often at most; None means no limit."""


Expected: TypeAlias = Expect | v1.ExpectedEffect | str


def expected_effect(expect: Expected) -> v1.ExpectedEffect:
    """The message for an expected effect given as `Expect`, as `KIND:TARGET` or as the message itself.

    A kind that is not in the language is sent as the text that it is: the server names it among the faults.
    """
    if isinstance(expect, v1.ExpectedEffect):
        return expect
    if isinstance(expect, str):
        return parse_expect(expect)
    kind = KINDS.get(expect.kind, v1.EffectKind.EFFECT_KIND_UNSPECIFIED)
    return v1.ExpectedEffect(
        kind=kind,
        target=expect.target,
        min_count=expect.min_count,
        max_count=expect.max_count,
        unknown_kind="" if kind else expect.kind,
    )


def parse_expect(text: str) -> v1.ExpectedEffect:
    """Reads `KIND:TARGET`, the form of `cmdop call --expect`."""
    kind, _, target = text.partition(":")
    return expected_effect(Expect(kind, target))


_ACTION_FIELDS = {"tool": str, "host": str, "intent": str, "arguments": dict, "expect": list, "idempotency_key": str}
_EFFECT_FIELDS = {"kind": str, "target": str, "min_count": int, "max_count": int}
_ALSO = {
    "args": "arguments", "effects": "expect", "expected": "expect", "expected_effects": "expect", "input": "arguments",
    "key": "idempotency_key", "max": "max_count", "min": "min_count", "parameters": "arguments", "params": "arguments",
    "path": "target", "purpose": "intent", "reason": "intent", "tool_name": "tool", "type": "kind", "why": "intent",
}  # fmt: skip
"""What others call some fields."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_TYPE_NAMES = {str: "a text", dict: "an object", list: "an array", int: "a whole number from 0 to 4294967295"}


def proposal_from_document(document: object, *, actor: v1.Actor | None = None) -> v1.Proposal:
    """The proposal of an action's JSON object: `{tool, host, intent, arguments, expect, idempotency_key}`.

    Raises:
        MalformedJsonError: The object has not this shape; every fault is among `violations`.
    """
    action = action_from_document(document)
    key = cast("Mapping[str, str]", document).get("idempotency_key", "")
    return v1.Proposal(action=action, actor=actor, idempotency_key=key)


def action_from_document(document: object) -> v1.Action:
    """The action of an action's JSON object. See `proposal_from_document`."""
    faults = _not_text(document)
    fields = _fields(document, "", _ACTION_FIELDS, faults)
    expect: list[v1.ExpectedEffect] = []
    for index, entry in enumerate(fields.get("expect", [])):
        effect = _fields(entry, f"/expect/{index}", _EFFECT_FIELDS, faults)
        # Faulty effects end in the error below, so what stands in for them is never sent.
        whole: dict[str, Any] = {"kind": "", "target": ""} | effect
        expect.append(expected_effect(Expect(**whole)))
    try:
        arguments = json.dumps(fields.get("arguments", {}), ensure_ascii=False, allow_nan=False)
    except ValueError:
        faults.append(_fault("/arguments", "finite numbers", "NaN or Infinity"))
        arguments = ""
    except RecursionError:
        faults.append(_fault("/arguments", "at most 128 levels of nesting", "more"))
        arguments = ""
    if faults:
        first, more = faults[0], f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        place = first.pointer or "the whole text"
        proto = v1.Error(
            reason=v1.Reason.REASON_MALFORMED_JSON,
            message=f"the call has not the expected shape: {place}: found {first.found}, "
            f"expected {first.expected}{more}",
            remedy=first.remedy,
            violations=faults,
        )
        raise MalformedJsonError(proto.message, proto=proto)
    return v1.Action(
        tool=fields.get("tool", ""),
        host=fields.get("host", ""),
        intent=fields.get("intent", ""),
        arguments_json=arguments,
        expect=expect,
    )


def _fields(value: object, pointer: str, known: Mapping[str, type], faults: list[v1.Violation]) -> dict[str, Any]:
    """The fields of an object that are of their type; all others become faults."""
    if not isinstance(value, Mapping):
        # An effect as the command line takes it.
        is_effect = isinstance(value, str) and known is _EFFECT_FIELDS and ":" in value
        change = {"value_json": json.dumps(_effect_of(value))} if is_effect and isinstance(value, str) else {}
        faults.append(_fault(pointer, f"an object with {_listed(known)}", _shown(value), **change))
        return {}
    found: dict[str, Any] = {}
    for name, entry in cast("Mapping[object, object]", value).items():
        name = str(name)
        place = f"{pointer}/{pointer_token(name)}"
        if name not in known:
            near = _meant(name, known)
            meant = f"; did you mean `{near}`?" if near else ";"
            expected = f"no such field{meant} there are {_listed(known)}"
            change = _renamed(near, cast("Mapping[object, object]", value)) or (
                {"remove": True} if entry is None else {}
            )
            faults.append(_fault(_SURROGATE.sub("\ufffd", place), expected, _shown(entry), **change))
        elif entry is None and name in ("min_count", "max_count"):
            continue
        elif not _fits(entry, known[name]):
            faults.append(_fault(place, _TYPE_NAMES[known[name]], _shown(entry), **_retyped(entry, known[name])))
        else:
            found[name] = entry
    return found


def _meant(name: str, known: Mapping[str, type]) -> str:
    """The field that an unknown one was likely meant to be, or an empty text."""
    near = [_ALSO[name]] if _ALSO.get(name) in known else difflib.get_close_matches(name, known, n=1)
    return near[0] if near else ""


def _renamed(name: str, fields: Mapping[object, object]) -> dict[str, Any]:
    return {"rename": name} if name and name not in fields else {}


def _retyped(value: object, kind: type) -> dict[str, Any]:
    """What a field of another type can only have meant, as a change; empty if that is not certain."""
    meant: object = value
    match value, kind:
        case None, _:
            return {"remove": True}
        case str(text), _ if kind is not str:
            with suppress(ValueError, RecursionError):
                meant = json.loads(text)
            if meant is value and kind is list and ":" in text:
                meant = [_effect_of(text)]
        case float(number), _ if kind is int and number.is_integer():
            meant = int(number)
        case (int(number), _) if kind is str and not isinstance(number, bool):
            meant = str(number)
        case Mapping(), _ if kind is list:
            meant = [cast("object", value)]
        case _:
            return {}
    return {"value_json": json.dumps(meant)} if _fits(meant, kind) else {}


def _effect_of(text: str) -> dict[str, str]:
    kind, _, target = text.partition(":")
    return {"kind": kind, "target": target}


def _not_text(document: object) -> list[v1.Violation]:
    """Faults of texts that hold half a surrogate pair: JSON can write it, UTF-8 cannot."""
    faults: list[v1.Violation] = []
    rest: list[tuple[str, object]] = [("", document)]
    while rest:
        place, value = rest.pop()
        if isinstance(value, str) and _SURROGATE.search(value):
            faults.append(_fault(_SURROGATE.sub("\ufffd", place), "text of Unicode characters", ascii(value)[:200]))
        elif isinstance(value, Mapping):
            for name, entry in cast("Mapping[object, object]", value).items():
                inner = f"{place}/{pointer_token(str(name))}"
                rest += [(inner, entry), (inner, str(name))]
        elif isinstance(value, list):
            rest += [(f"{place}/{index}", entry) for index, entry in enumerate(cast("list[object]", value))]
    return faults


def _fits(value: object, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32
    return isinstance(value, kind)


def _fault(pointer: str, expected: str, found: str, **change: Any) -> v1.Violation:
    return v1.Violation(
        reason=v1.Reason.REASON_MALFORMED_JSON,
        pointer=pointer,
        expected=expected,
        found=found,
        remedy=v1.Remedy(fix_arguments=v1.FixArguments(path=pointer, expected=expected, **change)),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)[:200]
    except RecursionError:
        return "something nested too deeply"
    return _SURROGATE.sub("\ufffd", text)


def pointer_token(name: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
