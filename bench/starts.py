"""`python bench/starts.py`: what confining a command adds to its start, as ratios of one run.

    python bench/starts.py [--rounds 5] [--seconds 2] [--only ROW]… [--files 100000] [--real-time] [--json]

Every contestant starts `bash -c :` and waits for its end, with a pause between two starts: plainly;
confined as the host does it in direct mode (read-only overlay view, Landlock, seccomp, control group,
own pid, network, ipc and host name namespaces) and in a preview; and by `bwrap --unshare-all` (Debian
package bubblewrap; left out, and said, if absent), also with the machine's network. *Added* is what
exceeds the plain start of the same round, and a ratio is taken per round: its median and range are
shown, of the starts' medians and of the least that a start took in that round, which other load moves
less. All get the same environment. Laying out the layer on disk is done before the start that is measured, except in the row with
the two looks; programs are listed (seccomp notification, ptrace, SHA-256) only in the rows that say so.
The product runs no command without its own network namespace, which is made before the job comes: so
one row is held to both bounds of goal G10, that for a start without (a fifth of what bwrap adds, twice a plain
start) and that for one with (a third, 2.6 times). The scan is what observing direct mode costs: two looks
at a tree of that many files; `--files 10000` leaves the larger one out. With `--real-time` every contestant and
all that it starts have a real-time priority (SCHED_FIFO), so that other load on their core does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from run import LOAD_CORE, NATIVE, ROOT, Contestant, Figures, facts, measure, told

CONTESTANTS = {
    "plain spawn": "plain",
    "confined: direct mode": "direct",
    "confined: direct mode, daemon of 500 MB": "direct-large",
    "direct mode with its two looks": "direct-whole",
    "confined: preview": "preview",
    "direct mode, programs listed": "direct-watched",
    "preview, programs listed": "preview-watched",
    "bwrap --unshare-all": "bwrap",
    "bwrap --unshare-all --share-net": "bwrap-net",
    "two looks at 10,000 files": "scan-10000",
    "two looks at 100,000 files": "scan-100000",
}
PLAIN, BWRAP = "plain spawn", "bwrap --unshare-all"
#: The rows that goal G10 is about.
CONFINED = ("confined: direct mode", "confined: preview")
#: At most of what bwrap adds, and of a plain start: without and with a network namespace.
GOALS = {"without": (1 / 5, 2.0), "with": (1 / 3, 2.6)}


def contestants(directory: Path, seconds: float, kinds: dict[str, str]) -> tuple[list[Contestant], list[str]]:
    """What is measured, and what cannot be."""

    def once(kind: str) -> Figures:
        return told([NATIVE, "exec", kind, directory, str(seconds)], LOAD_CORE)

    has_bwrap = shutil.which("bwrap") is not None
    present = {name: kind for name, kind in kinds.items() if has_bwrap or not kind.startswith("bwrap")}
    notes = [f"`{name}` is left out: it is not installed" for name in kinds.keys() - present.keys()]
    return [Contestant(name, partial(once, kind)) for name, kind in present.items()], notes


def spread(ratios: list[float]) -> dict[str, float]:
    """Median and range of a ratio over the rounds."""
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def shown(ratio: dict[str, float] | None) -> str:
    """A ratio for a table; nothing if there is nothing to compare with."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})" if ratio else ""


def chosen(only: list[str], files: int) -> dict[str, str]:
    """The rows that are measured: those that the others are compared with in any case."""
    small = {name: kind for name, kind in CONTESTANTS.items() if int(kind.partition("scan-")[2] or 0) <= files}
    return {
        name: kind
        for name, kind in small.items()
        if not only or name in (PLAIN, BWRAP) or any(part in name for part in only)
    }


def compared(field: list[Contestant], figure: str) -> list[dict[str, Any]]:
    """Each contestant beside the plain start and bwrap, by one figure of its rounds."""
    taken = {contestant.name: [figures[figure] for figures in contestant.rounds] for contestant in field}
    plain, bwrap = taken[PLAIN], taken.get(BWRAP)
    rows: list[dict[str, Any]] = []
    for name, values in taken.items():
        row: dict[str, Any] = {"name": name, figure: statistics.median(values)}
        row["of_plain"] = spread([a / b for a, b in zip(values, plain, strict=True)])
        if bwrap:
            added = zip(values, plain, bwrap, strict=True)
            row["added_of_bwrap"] = spread([(a - b) / (c - b) for a, b, c in added])
        rows.append(row)
    return rows


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Whether the medians meet goal G10."""
    lines: list[str] = []
    for row in rows:
        if row["name"] not in CONFINED:
            continue
        for network, (share, times) in GOALS.items():
            added, plain = row.get("added_of_bwrap"), row["of_plain"]["median"]
            met = plain <= times and (added is None or added["median"] <= share)
            of_bwrap = f"{added['median']:.2f} of at most {share:.2f}" if added else "not compared"
            lines.append(
                f"{row['name']}, bounds {network} a network namespace: {'met' if met else 'missed'} "
                f"(added of bwrap {of_bwrap}; of plain {plain:.2f} of at most {times})"
            )
    return lines


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="a contestant's window in each round")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="rows whose name holds this")
    parser.add_argument("--files", type=int, default=100_000, help="largest tree that is looked at")
    parser.add_argument("--real-time", action="store_true", help="let no other load on the core count (root)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if asked.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as directory:
        field, notes = contestants(Path(directory), asked.seconds, chosen(asked.only, asked.files))
        notes += measure(field, asked.rounds)
    rows = [
        row | {"by_least": least}
        for row, least in zip(compared(field, "p50_us"), compared(field, "least_us"), strict=True)
    ]
    if asked.json:
        print(json.dumps({"facts": facts(), "rows": rows, "goals": verdicts(rows), "notes": notes}))
        return
    print(", ".join(f"{name}: {value}" for name, value in facts().items()))
    for figure, title in (("p50_us", "p50 µs"), ("least_us", "least µs")):
        print(f"{'':42}{title:>10}{'of plain':>24}{'added, of what bwrap adds':>28}")
        for row in rows if figure == "p50_us" else [row["by_least"] for row in rows]:
            of_bwrap = shown(row.get("added_of_bwrap"))
            print(f"{row['name']:42}{row[figure]:10,.0f}{shown(row['of_plain']):>24}{of_bwrap:>28}")
    for verdict in verdicts(rows):
        print(f"G10: {verdict}")
    for note in notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
