"""`python bench/starts.py`: what confining a command adds to its start, as ratios of one run.

    python bench/starts.py [--rounds 5] [--seconds 2] [--json]

Every contestant starts `bash -c :` and waits for its end, with a pause between two starts: plainly;
confined as the host does it in direct mode (read-only overlay view, Landlock, seccomp, control group,
own pid, network, ipc and host name namespaces) and in a preview; and by `bwrap --unshare-all` (Debian
package bubblewrap; left out, and said, if absent). *Added* is what exceeds the plain start of the same
round, and a ratio is taken per round: its median and range are shown. Laying out the layer on disk is
done before the start that is measured, except in the row with the two looks. The product runs no
command without its own network namespace, so there is no row without one; goal G10 is at most a third
of what bwrap adds, and 2.6 times a plain start. The scan is what observing direct mode costs: two
looks at a tree of that many files.
"""

from __future__ import annotations

import argparse
import json
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
    "bwrap --unshare-all": "bwrap",
    "two looks at 10,000 files": "scan-10000",
    "two looks at 100,000 files": "scan-100000",
}


def contestants(directory: Path, seconds: float) -> tuple[list[Contestant], list[str]]:
    """What is measured, and what cannot be."""

    def once(kind: str) -> Figures:
        return told([NATIVE, "exec", kind, directory, str(seconds)], LOAD_CORE)

    present = {name: kind for name, kind in CONTESTANTS.items() if kind != "bwrap" or shutil.which("bwrap")}
    notes = [f"`{name}` is left out: it is not installed" for name in CONTESTANTS.keys() - present.keys()]
    return [Contestant(name, partial(once, kind)) for name, kind in present.items()], notes


def spread(ratios: list[float]) -> dict[str, float]:
    """Median and range of a ratio over the rounds."""
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def shown(ratio: dict[str, float] | None) -> str:
    """A ratio for a table; nothing if there is nothing to compare with."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})" if ratio else ""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="a contestant's window in each round")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as directory:
        field, notes = contestants(Path(directory), asked.seconds)
        notes += measure(field, asked.rounds)
    p50 = {contestant.name: [figures["p50_us"] for figures in contestant.rounds] for contestant in field}
    plain, bwrap = p50["plain spawn"], p50.get("bwrap --unshare-all")
    rows: list[dict[str, Any]] = []
    for name, values in p50.items():
        row: dict[str, Any] = {"name": name, "p50_us": statistics.median(values)}
        row["of_plain"] = spread([a / b for a, b in zip(values, plain, strict=True)])
        if bwrap:
            added = zip(values, plain, bwrap, strict=True)
            row["added_of_bwrap"] = spread([(a - b) / (c - b) for a, b, c in added])
        rows.append(row)
    if asked.json:
        print(json.dumps({"facts": facts(), "rows": rows, "notes": notes}))
        return
    print(", ".join(f"{name}: {value}" for name, value in facts().items()))
    print(f"{'':42}{'p50 µs':>10}{'of plain':>24}{'added, of what bwrap adds':>28}")
    for row in rows:
        print(
            f"{row['name']:42}{row['p50_us']:10,.0f}{shown(row['of_plain']):>24}{shown(row.get('added_of_bwrap')):>28}"
        )
    for note in notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
