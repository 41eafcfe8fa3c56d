"""Tools as strict functions: what a model is offered, and the action that its answer means.

Strict structured outputs know only a subset of JSON Schema: every property is required, objects are
closed. So optional arguments become nullable and maps become lists of pairs on the way out, and the
way back undoes both. The server validates the action again, by the tool's own schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from cmdop import v1
from cmdop._bridge import check_json, meant_tool
from cmdop.agent.model import Function, FunctionCall
from cmdop.document import KINDS, action_from_document
from cmdop.errors import MalformedJsonError, UnknownHostError, UnknownToolError

Schema = dict[str, Any]

_LOOKS = frozenset({"file.read", "process.inspect", "process.spawn"})
_KEPT = ("description", "enum", "pattern", "minimum", "maximum")

_INTENT: Schema = {
    "type": "string",
    "description": "Why you do this, in one sentence. A person may read it to decide.",
}
_EXPECT: Schema = {
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
_OWN = frozenset({"intent", "expect", "host"})
"""Properties of every function that are no arguments of its tool."""

_UNREAD = "unknown: what the model wrote cannot be read"


class Offer:
    """The functions for some tools on some hosts.

    Raises:
        ValueError: There is no host, or a tool's arguments cannot stand beside `intent`, `expect` and `host`.
    """

    def __init__(self, tools: Iterable[v1.ToolContract], hosts: Sequence[str]) -> None:
        self._tools = {tool.name.replace(".", "_"): tool for tool in tools}
        self._schemas: dict[str, Schema] = {
            name: json.loads(tool.arguments_schema) for name, tool in self._tools.items()
        }
        if not hosts:
            raise ValueError("an agent needs at least one host")
        self._hosts = list(hosts)
        for name, schema in self._schemas.items():
            if clash := _OWN & set(schema.get("properties", {})):
                raise ValueError(f"{self._tools[name].name} cannot be offered: it has an argument {min(clash)!r}")

    @property
    def functions(self) -> list[Function]:
        """What the model is offered."""
        return [Function(name, tool.description, self._parameters(name)) for name, tool in self._tools.items()]

    def _parameters(self, name: str) -> Schema:
        properties: Schema = {"intent": _INTENT, "expect": _EXPECT}
        if len(self._hosts) > 1:
            properties["host"] = {"type": "string", "enum": self._hosts}
        properties |= _strict(self._schemas[name], optional=False)["properties"]
        return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}

    def action(self, asked: FunctionCall) -> v1.Action:
        """The action that a function call means. What is wrong with its arguments is for the server to say.

        Raises:
            UnknownToolError: The function was not offered.
            UnknownHostError: It is for another host.
            MalformedJsonError: It has not the shape of an action; every fault is among `violations`.
        """
        tool = self._tools.get(asked.name)
        if tool is None:
            raise self._not_offered(asked.name)
        try:
            check_json("what the model wrote", (asked.arguments or "{}").encode())
            given: object = json.loads(asked.arguments or "{}")
        except (MalformedJsonError, UnicodeEncodeError):
            given = None
        if isinstance(given, dict):
            return self._read(tool, cast("dict[str, Any]", given))
        # Passed on as it is, so that the refusal is typed, recorded and taught by the server.
        return self.unread(asked)

    def unread(self, asked: FunctionCall) -> v1.Action:
        """What stands for a function call that no action could be made of: its text as it came."""
        tool = self._tools.get(asked.name)
        name = tool.name if tool else asked.name
        # Its intent is somewhere in the text: that it has none is not what is to be mended.
        return v1.Action(tool=name, host=self._hosts[0], intent=_UNREAD, arguments_json=asked.arguments)

    def _read(self, tool: v1.ToolContract, fields: dict[str, Any]) -> v1.Action:
        own = {key: fields.pop(key) for key in _OWN & fields.keys() if key != "host" or len(self._hosts) > 1}
        arguments = _given(fields, self._schemas[tool.name.replace(".", "_")])
        document = {"host": self._hosts[0]} | {key: value for key, value in own.items() if value is not None}
        action = action_from_document(document | {"tool": tool.name, "arguments": arguments})
        if action.host not in self._hosts:
            raise self._not_a_host(action.host)
        return action

    def _not_offered(self, name: str) -> UnknownToolError:
        # Answered here: a server that knows the tool would run what this agent was not given.
        message = f"`{name[:100]}` is not a function that you have; you have {', '.join(sorted(self._tools))}"
        meant = meant_tool(name, list(self._tools.values()))
        remedy = (
            v1.Remedy(use_tool=v1.UseTool(name=meant.name))
            if meant
            else v1.Remedy(stop=v1.Stop(why="You have no function for it."))
        )
        proto = v1.Error(reason=v1.Reason.REASON_UNKNOWN_TOOL, message=message, remedy=remedy)
        return UnknownToolError(message, proto=proto)

    def _not_a_host(self, name: str) -> UnknownHostError:
        message = f"`{name[:100]}` is not a host that you may act on; those are {', '.join(self._hosts)}"
        fix = v1.FixArguments(path="/host", expected=f"one of {', '.join(self._hosts)}")
        remedy = v1.Remedy(fix_arguments=fix)
        proto = v1.Error(reason=v1.Reason.REASON_UNKNOWN_HOST, message=message, remedy=remedy)
        return UnknownHostError(message, proto=proto)


def _strict(spec: Schema, *, optional: bool) -> Schema:
    """A schema in the strict subset. Keywords that it has no words for are left to the server."""
    strict: Schema = {"type": spec.get("type", "string")} | {key: spec[key] for key in _KEPT if key in spec}
    if _is_map(spec):
        pair = {"name": {"type": "string"}, "value": {"type": "string"}}
        strict |= {"type": "array", "items": _closed(pair)}
    elif "properties" in spec:
        required = spec.get("required", [])
        inner = {name: _strict(each, optional=name not in required) for name, each in spec["properties"].items()}
        strict |= _closed(inner)
    elif "items" in spec:
        strict["items"] = _strict(spec["items"], optional=False)
    if optional:
        kind: str | list[str] = strict["type"]
        strict["type"] = [*dict.fromkeys([*([kind] if isinstance(kind, str) else kind), "null"])]
        if "enum" in strict:
            strict["enum"] = [*strict["enum"], None]
        if "default" in spec:
            strict["description"] = f"{strict.get('description', '')} Null means {json.dumps(spec['default'])}.".strip()
    return strict


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


def _is_map(spec: Schema) -> bool:
    return spec.get("type") == "object" and isinstance(spec.get("additionalProperties"), dict)


def _given(value: Any, spec: Schema) -> Any:
    """What the tool's own schema calls it. What fits neither schema stays, for the server to see."""
    match value:
        case list() if _is_map(spec):
            return _unpaired(cast("list[Any]", value))
        case list():
            return [_given(item, spec.get("items", {})) for item in cast("list[Any]", value)]
        case Mapping():
            fields, known = cast("Mapping[str, Any]", value), spec.get("properties", {})
            return {key: _given(item, known.get(key, {})) for key, item in fields.items() if item is not None}
        case _:
            return value


def _unpaired(pairs: list[Any]) -> Any:
    found: Schema = {}
    for pair in pairs:
        match pair:
            case {"name": str(name), "value": value, **rest} if not rest and name not in found:
                found[name] = value
            case _:
                return pairs
    return found
