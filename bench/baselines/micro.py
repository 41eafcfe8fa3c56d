"""The pure parts with Python's fastest libraries: `python micro.py SECONDS`. Prints one line of JSON.

Validation stops at the first error; a decision evaluates one effect of one principal beneath 24 and
1,004 policies, all parsed beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cedarpy
import jsonschema_rs
import orjson

SCHEMAS = Path(__file__).parents[2] / "core_rs/contract/src/tool"


def each(seconds: float, act: Callable[[], Any]) -> float:
    """Mean microseconds of an act, repeated for some seconds."""
    act()
    turns, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(16):
            act()
        turns += 16
    return (time.perf_counter() - started) / turns * 1e6


def validation(seconds: float) -> float:
    """orjson and jsonschema-rs on one document of a `files.write`."""
    tool = orjson.loads((SCHEMAS / "files.write.json").read_bytes())
    validator = jsonschema_rs.validator_for(tool["arguments"])
    document = orjson.dumps(
        {
            "tool": "files.write",
            "host": "bench",
            "intent": "roll the configuration of a release forward, as the change request says",
            "arguments": {"path": "/srv/app/shared/releases/001/config.json", "content": "x" * 256},
            "expect": [],
            "idempotency_key": "k",
            "agent": "bencher",
            "user": "ada",
        }
    )
    return each(seconds, lambda: validator.is_valid(orjson.loads(document)["arguments"]))


def decision(seconds: float, count: int) -> float:
    """cedarpy with that many policies."""
    rule = 'permit (principal == Agent::"team-{0}", action == Action::"file.modify", resource in Path::"/data/{0}");'
    policies = "\n".join(rule.format(number) for number in range(count - 1))
    policies += 'permit (principal == Agent::"bencher", action == Action::"file.delete", resource in Path::"/srv/app");'
    parsed = cedarpy.PolicySet.from_str(policies)
    parents = [{"__entity": {"type": "Path", "id": path}} for path in ("/srv/app/logs", "/srv/app")]
    agent = {"uid": {"__entity": {"type": "Agent", "id": "bencher"}}, "attrs": {}, "parents": []}
    path = {"__entity": {"type": "Path", "id": "/srv/app/logs/old.log"}}
    entities = cedarpy.Entities.from_json_str(json.dumps([agent, {"uid": path, "attrs": {}, "parents": parents}]))
    request = {
        "principal": 'Agent::"bencher"',
        "action": 'Action::"file.delete"',
        "resource": 'Path::"/srv/app/logs/old.log"',
        "context": {"tool": "files.delete"},
    }
    answer = cedarpy.is_authorized(request, parsed, entities)
    if not answer.allowed:
        raise SystemExit(f"the decision is not the one that is measured: {answer.decision}")
    return each(seconds, lambda: cedarpy.is_authorized(request, parsed, entities))


if __name__ == "__main__":
    span = float(sys.argv[1])
    measured = {
        "validation_us": validation(span),
        "decision_us": decision(span, 24),
        "decision_1000_us": decision(span, 1_004),
    }
    print(json.dumps(measured))
