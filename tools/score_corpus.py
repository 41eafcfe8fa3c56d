"""Scores policy against labelled commands: what should have been stopped and was not, and what was stopped for nothing.

    python tools/score_corpus.py DIRECTORY [--leave-out FILE] [--show] [--profile PACK] [--host-facts FILE]

A corpus is a file of JSON Lines with `id`, `command`, `accept` (verdicts that count as right) and `label_strength`.
A *miss* is a row that does not accept `allow` and was allowed; *friction* is a row that accepts `allow` alone and
was not. Only rows with strong labels whose context is no more than another form of the command are scored. A row
may be left out with a reason (one `id<tab>reason` a line): figures are shown before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmdop._bridge import CoreDecider
from cmdop.cli.decide import host_of, policies_of, verdicts
from cmdop.policy import judge

FORMS = {"argv"}
"""Keys of a context that only repeat the command."""


@dataclass(slots=True)
class Score:
    """Counts of one corpus."""

    stop: int = 0
    """Rows that do not accept `allow`."""
    go: int = 0
    """Rows that accept nothing else."""
    missed: list[str] = field(default_factory=list[str])
    friction: Counter[str] = field(default_factory=Counter[str])
    """Rows that were stopped for nothing, by verdict."""
    stopped: Counter[str] = field(default_factory=Counter[str])
    """Rows that were stopped with reason, by verdict."""

    def add(self, row: dict[str, Any], verdict: str) -> None:
        """Counts a row."""
        if "allow" not in row["accept"]:
            self.stop += 1
            if verdict == "allow":
                self.missed.append(row["id"])
            else:
                self.stopped[verdict] += 1
        elif row["accept"] == ["allow"]:
            self.go += 1
            if verdict != "allow":
                self.friction[verdict] += 1

    def line(self, name: str) -> str:
        """The row of the table."""
        stopped, friction = self.stopped, self.friction
        return (
            f"{name:<22}{self.stop:>6}{len(self.missed):>6}{_share(len(self.missed), self.stop):>8}"
            f"{stopped['deny']:>6}{stopped['ask']:>6}{stopped['preview']:>8} |"
            f"{self.go:>6}{friction.total():>9}{_share(friction.total(), self.go):>8}"
            f"{friction['deny']:>6}{friction['ask']:>6}{friction['preview']:>8}"
        )


HEAD = (
    f"{'':<22}{'must stop':>6}\n"
    f"{'corpus':<22}{'rows':>6}{'miss':>6}{'':>8}{'deny':>6}{'ask':>6}{'preview':>8} |"
    f"{'rows':>6}{'friction':>9}{'':>8}{'deny':>6}{'ask':>6}{'preview':>8}"
)


def is_scored(row: dict[str, Any]) -> bool:
    """Is the label strong, and does it hold without what the other project's test set up?"""
    return row["label_strength"] == "strong" and set(row.get("context") or {}) <= FORMS


def score(
    directory: Path, decider: CoreDecider, host: Any
) -> Iterable[tuple[Path, list[tuple[dict[str, Any], dict[str, Any]]]]]:
    """Each corpus with its scored rows and their verdicts."""
    for file in sorted(directory.glob("*.jsonl")):
        rows = [row for row in map(json.loads, file.open()) if is_scored(row)]
        lines = (json.dumps({"id": row["id"], "command": row["command"]}).encode() for row in rows)
        yield file, list(zip(rows, verdicts(lines, decider, host), strict=True))


def main() -> int:
    """Prints the tables; 1 if a row could not be decided about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--leave-out", type=Path)
    parser.add_argument("--show", action="store_true", help="list misses and friction")
    parser.add_argument("--profile", default="workspace")
    parser.add_argument("--host-facts", type=Path)
    options = parser.parse_args()
    left_out = (
        dict(line.split("\t", 1) for line in options.leave_out.read_text().splitlines()) if options.leave_out else {}
    )
    host = host_of(options.host_facts)
    decider = CoreDecider(host.to_proto(), policies_of(options.profile), judge)
    started = time.perf_counter()
    found = list(score(options.directory, decider, host))
    seconds = time.perf_counter() - started
    _print("all scored rows", found, set())
    if left_out:
        _print(f"without {len(left_out)} rows whose sources contradict one another or bash", found, set(left_out))
        for id, reason in left_out.items():
            print(f"  left out {id}: {reason}")
    if options.show:
        _show(found)
    count = sum(len(rows) for _, rows in found)
    print(f"\n{count} commands in {seconds:.2f} s: {count / seconds:,.0f} a second")
    return int(any("error" in verdict for _, rows in found for _, verdict in rows))


def _print(
    title: str, found: Iterable[tuple[Path, list[tuple[dict[str, Any], dict[str, Any]]]]], without: set[str]
) -> None:
    print(f"\n{title}\n{HEAD}")
    total = Score()
    for file, rows in found:
        one = Score()
        for row, verdict in rows:
            if row["id"] not in without:
                one.add(row, verdict.get("verdict", "error"))
                total.add(row, verdict.get("verdict", "error"))
        print(one.line(file.stem))
    print(total.line("all"))


def _show(found: Iterable[tuple[Path, list[tuple[dict[str, Any], dict[str, Any]]]]]) -> None:
    for _, rows in found:
        for row, verdict in rows:
            said = verdict.get("verdict", "error")
            kind = "miss" if "allow" not in row["accept"] and said == "allow" else ""
            kind = "friction" if row["accept"] == ["allow"] and said != "allow" else kind
            if kind:
                why = verdict.get("unanalysable") or verdict.get("reason") or verdict.get("error")
                print(f"{kind:<9}{said:<8}{row['id']:<18}{row['command']!r}\n{'':>17}{why}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


if __name__ == "__main__":
    sys.exit(main())
