"""`make bench-diff`: what it costs to measure, commit and undo what a command changed.

    python bench/diff.py [--rounds 3] [--files 100000] [--json]

Each row is a tree of so many files in which so many got another content, in directories of 100. *diff*
reads the layer and lists the exact effects with digests and text differences; *commit* checks that
nothing moved, stages, writes the journal durably and exchanges the files; *undo* plans and takes it
back. The page cache is warm. Growth compares per changed file with the row above (what changed grows:
1.0 is linear), and the same change in a larger tree (what is there grows: 1.0 is no growth). Other work
on the machine shows in the range. Each row lays its tree out anew, which takes a busy disk minutes for 100,000
files, so each tells on standard error when it is done; `--files 10000` leaves the larger trees out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from run import LOAD_CORE, NATIVE, ROOT, Figures, facts, told

STEPS = ("diff_s", "commit_s", "undo_s")
# Files of the tree, and how many of them change.
ROWS = ((1_000, 1_000), (10_000, 1_000), (100_000, 1_000), (100_000, 10_000), (100_000, 100_000))


def measured(rounds: int, rows: list[tuple[int, int]]) -> dict[tuple[int, int], list[Figures]]:
    """Every row once a round."""
    found: dict[tuple[int, int], list[Figures]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as directory:
        for _ in range(rounds):
            for files, changed in rows:
                command = [NATIVE, "change", Path(directory), str(files), str(changed)]
                figures = told(command, LOAD_CORE)
                found[files, changed].append(figures)
                print(f"{changed:,} of {files:,}: {figures}", file=sys.stderr)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=100_000, help="largest tree")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    rows = [row for row in ROWS if row[0] <= asked.files]
    found = measured(asked.rounds, rows)
    middle = {
        row: {step: statistics.median(it[step] for it in rounds) for step in STEPS} for row, rounds in found.items()
    }
    if asked.json:
        told_rows = [{"files": files, "changed": changed, "rounds": found[files, changed]} for files, changed in rows]
        print(json.dumps({"facts": facts(), "rows": told_rows}))
        return
    print(", ".join(f"{name}: {value}" for name, value in facts().items()))
    print(f"{'files':>8}{'changed':>9}" + "".join(f"{step[:-2]:>30}" for step in STEPS))
    for files, changed in rows:
        cells = [cell([it[step] for it in found[files, changed]], changed) for step in STEPS]
        print(f"{files:8,}{changed:9,}" + "".join(f"{it:>30}" for it in cells))
    print("growth of a changed file's cost:")
    for one, two in pairwise(rows):
        ratios = (middle[two][step] / two[1] / (middle[one][step] / one[1]) for step in STEPS)
        told_of = f"{one[1]:,} of {one[0]:,} to {two[1]:,} of {two[0]:,}"
        print(f"{told_of:>40}: " + ", ".join(f"{step[:-2]} {it:.2f}" for step, it in zip(STEPS, ratios, strict=True)))


def cell(seconds: list[float], changed: int) -> str:
    """Files per second by the median, and the range of the time."""
    rate = changed / statistics.median(seconds)
    return f"{rate:,.0f}/s ({min(seconds):.2f} … {max(seconds):.2f} s)"


if __name__ == "__main__":
    main()
