"""Tools as strict functions: what a model is offered, and the action that its answer means.

Strict structured outputs know only a subset of JSON Schema: every property is required, objects are
closed. So optional arguments become nullable and maps become lists of pairs on the way out, and the
way back undoes both. The server validates the action again, by the tool's own schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cmdop import v1
from cmdop.agent.model import Function, FunctionCall
from cmdop.document import KINDS, Expect, expected_effect

_LOOKS = frozenset({"file.read", "process.inspect", "process.spawn"})
_KEPT = ("description", "enum", "pattern", "minimum", "maximum", "items")

_INTENT = {"type": "string", "description": "Why you do this, in one sentence. A person may read it to decide."}
_EXPECT: dict[str, Any] = {
    "type": "array",
    "description": (
        "Every change and contact that this will have; looks need not be listed. Targets: a path, absolute or "
        "relative to cwd; `*` within a name, `dir/**` for dir and everything beneath; deleting a directory "
        "covers what is in it. host:port for net.*. What happens beyond this list is not applied."
    ),
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "target", "min_count", "max_count"],
        "properties": {
            "kind": {"type": "string", "enum": [kind for kind in KINDS if kind not in _LOOKS]},
            "target": {"type": "string"},
            "min_count": {
                "type": ["integer", "null"],
                "description": "At least so often; null means 1, 0 means it may happen.",
            },
            "max_count": {"type": ["integer", "null"], "description": "At most so often; null means no limit."},
        },
    },
}


class Offer:
    """The functions for some tools on some hosts."""

    def __init__(self, tools: Iterable[v1.ToolContract], hosts: Sequence[str]) -> None:
        self._tools = {tool.name.replace(".", "_"): tool for tool in tools}
        self._schemas = {name: json.loads(tool.arguments_schema) for name, tool in self._tools.items()}
        self._hosts = tuple(hosts)

    @property
    def functions(self) -> list[Function]:
        """What the model is offered."""
        return [Function(name, tool.description, self._parameters(name)) for name, tool in self._tools.items()]

    def _parameters(self, name: str) -> dict[str, Any]:
        schema = self._schemas[name]
        required = schema.get("required", [])
        properties: dict[str, Any] = {"intent": _INTENT, "expect": _EXPECT}
        if len(self._hosts) > 1:
            properties["host"] = {"type": "string", "enum": list(self._hosts)}
        for argument, spec in schema.get("properties", {}).items():
            properties[argument] = _strict(spec, optional=argument not in required)
        return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}

    def action(self, asked: FunctionCall) -> v1.Action:
        """The action that a function call means. What is wrong with it is for the server to say."""
        tool = self._tools.get(asked.name)
        host = self._hosts[0] if self._hosts else ""
        try:
            given = json.loads(asked.arguments or "{}")
        except ValueError:
            given = None
        if tool is None or not isinstance(given, dict):
            # Passed on as it is, so that the refusal is typed, recorded and taught by the server.
            name = tool.name if tool else asked.name
            return v1.Action(tool=name, host=host, arguments_json=asked.arguments)
        fields: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        intent, expect = fields.pop("intent", ""), fields.pop("expect", [])
        host = fields.pop("host", host) if len(self._hosts) > 1 else host
        maps = self._schemas[asked.name].get("properties", {})
        arguments = {key: _unpaired(value) if _is_map(maps.get(key, {})) else value for key, value in fields.items()}
        return v1.Action(
            tool=tool.name,
            host=str(host),
            intent=str(intent),
            arguments_json=json.dumps(arguments, ensure_ascii=False),
            expect=[_expected(each) for each in expect] if isinstance(expect, list) else [],
        )


def _strict(spec: dict[str, Any], *, optional: bool) -> dict[str, Any]:
    if _is_map(spec):
        strict: dict[str, Any] = {
            "type": "array",
            "description": spec.get("description", ""),
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "value"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
            },
        }
    else:
        strict = {"type": spec.get("type", "string")} | {key: spec[key] for key in _KEPT if key in spec}
    if optional:
        strict["type"] = [strict["type"], "null"]
        if "enum" in strict:
            strict["enum"] = [*strict["enum"], None]
        if "default" in spec:
            strict["description"] = f"{strict.get('description', '')} Null means {json.dumps(spec['default'])}.".strip()
    return strict


def _is_map(spec: dict[str, Any]) -> bool:
    return spec.get("type") == "object" and isinstance(spec.get("additionalProperties"), dict)


def _unpaired(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return {str(pair.get("name")): pair.get("value") for pair in value if isinstance(pair, dict)}


def _expected(value: Any) -> v1.ExpectedEffect:
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    kind, target = str(fields.get("kind", "")), str(fields.get("target", ""))
    counts = {key: fields[key] for key in ("min_count", "max_count") if _is_count(fields.get(key))}
    if kind not in KINDS:
        return v1.ExpectedEffect(target=target, **counts)
    return expected_effect(Expect(kind, target, **counts))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32
