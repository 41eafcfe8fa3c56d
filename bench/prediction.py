"""What foreseeing real commands costs, vocabulary included: `python prediction.py SECONDS`. Prints one line of JSON.

It runs on the core of `target/release`, as it is when it is shipped. A command's figure is its least of several turns:
what it costs, and not what else ran on the machine. What a proposal is validated for is in it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "target/release/lib_core.so"
REAL = [ROOT / "tests/policy/everyday.txt", ROOT / "tests/policy/foreseen.txt"]
"""Commands of an everyday, and commands that were run to see what they do."""
TURNS = 5


def load_core() -> None:
    """Puts the optimised core in the place of the one that tests use."""
    spec = importlib.util.spec_from_file_location("cmdop._core", CORE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cmdop._core"] = module
    spec.loader.exec_module(module)


def commands() -> list[str]:
    """Real commands, each once."""
    lines = [line for file in REAL for line in file.read_text().splitlines()]
    return list(dict.fromkeys(line.replace("⏎", "\n") for line in lines if line and not line.startswith("#")))


def measure(seconds: float) -> dict[str, float]:
    """Microseconds in which half, and 99 of 100, of the commands are foreseen."""
    from cmdop import v1
    from cmdop._bridge import predict
    from cmdop.errors import CmdopError
    from cmdop.policy.vocabulary import judge

    host = v1.Host(name="bench", workspaces=["/srv/app"], home="/root")

    def proposed(command: str) -> v1.Proposal:
        arguments = json.dumps({"command": command, "cwd": "/srv/app"})
        action = v1.Action(tool="terminal.exec", host="bench", intent="measure", arguments_json=arguments)
        return v1.Proposal(
            action=action, actor=v1.Actor(user="ada", agent="bencher"), idempotency_key="k", author_attempt=1
        )

    proposals = [proposed(command) for command in commands()]
    least = [float("inf")] * len(proposals)
    until, turn = time.perf_counter() + seconds, 0
    while turn < TURNS or time.perf_counter() < until:
        for at, proposal in enumerate(proposals):
            began = time.perf_counter()
            # One that cannot be parsed safely is an answer too.
            with suppress(CmdopError):
                predict(proposal, host, judge)
            least[at] = min(least[at], time.perf_counter() - began)
        turn += 1
    least.sort()
    return {
        "prediction_p50_us": least[len(least) // 2] * 1e6,
        "prediction_p99_us": least[len(least) * 99 // 100] * 1e6,
        "commands": float(len(least)),
    }


if __name__ == "__main__":
    load_core()
    print(json.dumps(measure(float(sys.argv[1]))))
