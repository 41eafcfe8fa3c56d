"""`python bench/policy.py`: what deciding on a command costs, step by step, beside its goals.

    python bench/policy.py [--rounds 5] [--seconds 2] [--real-time] [--json]

Resolution and prediction are measured over the commands of `tests/policy/{everyday,foreseen}.txt`, each by the least of its
turns in a round; a remembered prediction and a decision by their mean. Figures are medians of the rounds. With `--real-time`
what is measured has a real-time priority (SCHED_FIFO, root), so that other load on its core does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from run import NATIVE, SERVER_CORE, Contestant, facts, measure, told

GOALS = {
    "decision_us": ("a decision, agent's and user's rights, 24 policies", 12.0),
    "growth": ("the same beneath 1,000 policies more, of that", 1.5),
    "resolution_p50_us": ("resolution of a real command, p50", 15.0),
    "resolution_p99_us": ("resolution of a real command, p99", None),
    "prediction_p50_us": ("prediction with the vocabulary, p50", 200.0),
    "prediction_p99_us": ("prediction with the vocabulary, p99", 2_000.0),
    "remembered_us": ("a prediction that is remembered", 5.0),
}
"""What each figure is, and the most that it may be; microseconds but for the growth."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="each figure's window in a round")
    parser.add_argument("--real-time", action="store_true", help="let no other load on the core count (root)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if asked.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    seconds = str(asked.seconds)
    prediction = [sys.executable, Path(__file__).with_name("prediction.py"), seconds]
    native = Contestant("native", lambda: told([NATIVE, "micro", seconds], SERVER_CORE))
    python = Contestant("vocabulary", lambda: told(prediction, SERVER_CORE))
    notes = measure([native, python], asked.rounds)
    for figures in native.rounds:
        figures["growth"] = figures["decision_1000_us"] / figures["decision_us"]
    rows = {name: native.median(name) or python.median(name) or float("nan") for name in GOALS}
    if asked.json:
        rounds = {contestant.name: contestant.rounds for contestant in (native, python)}
        print(json.dumps({"facts": facts(), "figures": rows, "rounds": rounds, "notes": notes}))
        return
    print(", ".join(f"{name}: {value}" for name, value in facts().items()))
    for name, (what, most) in GOALS.items():
        told_by = [figures[name] for one in (native, python) for figures in one.rounds if name in figures]
        goal = "" if most is None else f"  at most {most:g}: {'met' if rows[name] <= most else 'missed'}"
        print(f"{what:52}{rows[name]:9.2f}  {min(told_by):.2f} … {max(told_by):.2f}{goal}")
    for note in notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
