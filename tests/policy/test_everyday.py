"""Everyday commands are not stopped: friction is a defect, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmdop._bridge import CoreDecider
from cmdop.cli.decide import Host, verdicts
from cmdop.policy import judge

EVERYDAY = Path(__file__).with_name("everyday.txt")


@pytest.mark.timeout(300)
def test_at_least_94_of_100_everyday_commands_are_allowed_and_none_is_denied() -> None:
    lines = [line for line in EVERYDAY.read_text().splitlines() if line and not line.startswith("#")]
    commands = [line.replace("⏎", "\n") for line in lines]
    assert len(commands) >= 300
    assert len(set(commands)) == len(commands)
    host = Host()
    decider = CoreDecider(host.to_proto(), [], judge)
    asked = [json.dumps({"id": at, "command": each}).encode() for at, each in enumerate(commands)]
    found = list(zip(commands, verdicts(asked, decider, host), strict=True))
    stopped = [
        f"{each['verdict']:<8}{command!r}: {each['reason']}" for command, each in found if each["verdict"] != "allow"
    ]
    print(f"{len(commands) - len(stopped)} of {len(commands)} everyday commands are allowed", *stopped, sep="\n")
    assert not [line for line in stopped if line.startswith("deny")]
    assert len(stopped) <= 0.06 * len(commands)
