"""`make bench`: measured figures side by side, as ratios of one run.

    python bench/run.py [--rounds 5] [--seconds 2] [--sessions 1000] [--json]

The primary figure is the server's processor time for one call, over a window in which every reply is
checked. Server on core 0, load (and the host, which answers without touching a machine) on core 1.
Contestants take turns in random order inside each round; a ratio is taken per round and its median
and range are shown. A round in which other machines stole more than 5 % of the cores is redone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "target/release/cmdop-bench"
BASELINES = ROOT / "bench/baselines"
SERVER_CORE, LOAD_CORE = 0, 1
MOST_STEAL = 0.05
REDOS = 2
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


def pinned(core: int) -> Callable[[], None] | None:
    """For a child process: stay on one core. Without two cores nobody is pinned, and it is said."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def running(command: list[str | Path], core: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process with the first line that it prints; ended by its id."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(core))
    with process:
        assert process.stdout is not None, "asked for with PIPE"
        try:
            line = process.stdout.readline().strip()
            if not line:
                raise SystemExit(f"{command} did not start")
            yield process, line
        finally:
            process.kill()


def cpu_s(pid: int) -> float:
    """Processor time of all threads of a process so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def steal() -> tuple[int, int]:
    """Ticks that other machines took, and all ticks."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def loaded(kind: str, server: subprocess.Popen[str], address: str, sessions: int, seconds: float) -> Figures:
    """Puts load on a server; the server's processor time is read where the load's window begins and ends."""
    command = [NATIVE, "load", kind, address, str(sessions), str(seconds)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(LOAD_CORE))
    with load:
        assert load.stdout is not None, "asked for with PIPE"
        marks: list[float] = []
        figures: dict[str, Any] = {}
        for line in load.stdout:
            if line.strip() in ("begin", "end"):
                marks.append(cpu_s(server.pid))
            else:
                figures = json.loads(line)
    if load.returncode or len(marks) != 2 or not figures.get("calls"):
        raise SystemExit(f"the load on `{kind}` failed; nothing is reported")
    return {
        "cpu_us": (marks[1] - marks[0]) / figures["calls"] * 1e6,
        "calls_s": figures["calls"] / figures["seconds"],
        "p50_us": figures["p50_us"],
        "p99_us": figures["p99_us"],
        "client": figures["client_cpu_s"] / figures["seconds"],
    }


def told(command: list[str | Path], core: int) -> Figures:
    """What a command says in one line of JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pinned(core))
    figures: Figures = json.loads(done.stdout)
    return figures


@dataclass
class Contestant:
    """Something measured once a round."""

    name: str
    measure: Callable[[], Figures]
    rounds: list[Figures] = field(default_factory=list[Figures])

    def median(self, figure: str) -> float | None:
        """Median over the rounds of a figure that it has."""
        values = [figures[figure] for figures in self.rounds if figure in figures]
        return statistics.median(values) if values else None


def contestants(exits: ExitStack, directory: Path, sessions: int, seconds: float) -> list[Contestant]:
    """Starts every server and gives what is measured of it."""

    def server(command: list[str | Path]) -> tuple[subprocess.Popen[str], str]:
        return exits.enter_context(running(command, SERVER_CORE))

    def place(name: str) -> Path:
        (directory / name).mkdir(mode=0o700)
        return directory / name

    def on(kind: str, serving: tuple[subprocess.Popen[str], str], many: int) -> Callable[[], Figures]:
        return lambda: loaded(kind, *serving, many, seconds)

    guarded = server([NATIVE, "serve", place("guarded")])
    exits.enter_context(running([NATIVE, "host", guarded[1]], LOAD_CORE))
    good = server([sys.executable, BASELINES / "guard.py", "good", place("good")])
    naive = server([sys.executable, BASELINES / "guard.py", "naive", place("naive")])
    echo = server([NATIVE, "echo"])
    floor, log = place("floor"), place("log")

    def log_alone() -> Figures:
        found = told([NATIVE, "log", log, str(sessions), str(seconds)], SERVER_CORE)
        return {"cpu_us": found["cpu_s"] / found["calls"] * 1e6, "calls_s": found["calls"] / found["seconds"]}

    def disk() -> Figures:
        found = told([NATIVE, "fdatasync", floor, str(seconds / 2)], SERVER_CORE)
        return {"calls_s": found["calls"] / found["seconds"], "p50_us": found["p50_us"], "p99_us": found["p99_us"]}

    return [
        Contestant("guarded call", on("guarded", guarded, sessions)),
        Contestant("good Python guard", on("plain", good, sessions)),
        Contestant("naive Python guard", on("plain", naive, min(sessions, 100))),
        Contestant("the log alone", log_alone),
        Contestant("bare tonic echo", on("echo", echo, sessions)),
        Contestant("one session: guarded", on("guarded", guarded, 1)),
        Contestant("one session: Python", on("plain", good, 1)),
        Contestant("fdatasync, 4 KiB", disk),
        Contestant("native parts", lambda: told([NATIVE, "micro", str(seconds / 4)], SERVER_CORE)),
        Contestant(
            "Python parts", lambda: told([sys.executable, BASELINES / "micro.py", str(seconds / 4)], SERVER_CORE)
        ),
    ]


def measure(field: list[Contestant], rounds: int) -> list[str]:
    """Fills in the rounds, in random order within each. Returns what a reader must know."""
    notes: list[str] = []
    for number in range(rounds):
        for contestant in random.sample(field, len(field)):
            for _ in range(REDOS + 1):
                before = steal()
                figures = contestant.measure()
                stolen, all_ticks = (now - then for now, then in zip(steal(), before, strict=True))
                if stolen <= MOST_STEAL * all_ticks:
                    break
            else:
                notes.append(f"round {number + 1} of `{contestant.name}`: more than 5 % of the cores was stolen")
            contestant.rounds.append(figures)
    for contestant in field:
        if (client := contestant.median("client")) is not None and client > 0.9:
            notes.append(f"`{contestant.name}` is bound by its client ({client:.2f} of a core)")
    return notes


@dataclass(frozen=True)
class Ratio:
    """One figure over another, round by round."""

    name: str
    goal: str
    values: list[float]


def ratios(field: list[Contestant]) -> list[Ratio]:
    """What the goals speak about. Above 1 the first is better, unless it says `of`."""
    by_name = {contestant.name: contestant.rounds for contestant in field}

    def over(top: tuple[str, str], bottom: tuple[str, str]) -> list[float]:
        return [a[top[1]] / b[bottom[1]] for a, b in zip(by_name[top[0]], by_name[bottom[0]], strict=True)]

    guarded, good, naive = "guarded call", "good Python guard", "naive Python guard"
    native, python = "native parts", "Python parts"
    return [
        Ratio("calls/s: guarded over good Python", "G1: at least 3", over((guarded, "calls_s"), (good, "calls_s"))),
        Ratio("calls/s: guarded over naive Python", "G1: at least 25", over((guarded, "calls_s"), (naive, "calls_s"))),
        Ratio("calls/s: guarded of the log alone", "G1: at least 0.4", over((guarded, "calls_s"), ("the log alone", "calls_s"))),
        Ratio("server CPU: good Python over guarded", "", over((good, "cpu_us"), (guarded, "cpu_us"))),
        Ratio("server CPU: guarded of bare echo", "", over((guarded, "cpu_us"), ("bare tonic echo", "cpu_us"))),
        Ratio("p50 of one session: guarded of Python", "G2: at most 0.8", over(("one session: guarded", "p50_us"), ("one session: Python", "p50_us"))),
        Ratio("p50 of one session: guarded of fdatasync", "", over(("one session: guarded", "p50_us"), ("fdatasync, 4 KiB", "p50_us"))),
        Ratio("validation: Python over native", "G7: at least 1.2", over((python, "validation_us"), (native, "validation_us"))),
        Ratio("validation: typed serde of native", "G7: at least 0.35", over((native, "typed_serde_us"), (native, "validation_us"))),
        Ratio("decision: cedarpy over native, 24", "G8: at least 7", over((python, "decision_us"), (native, "decision_us"))),
        Ratio("decision: cedarpy over native, 1,000", "G8: at least 50", over((python, "decision_1000_us"), (native, "decision_1000_us"))),
    ]  # fmt: skip


def facts() -> dict[str, str]:
    """The machine, for whoever compares."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": os.uname().release,
        "pinned": "no: fewer than two cores" if pinned(0) is None else "server on core 0, load on core 1",
    }


def show(field: list[Contestant], found: list[Ratio], notes: list[str]) -> None:
    """Prints the tables."""
    from rich.console import Console
    from rich.table import Table

    out = Console(width=120, highlight=False)
    table = Table("", "calls/s", "server CPU µs/call", "p50 µs", "p99 µs", box=None, header_style="bold")
    for contestant in field:
        if contestant.median("calls_s") is not None:
            cells = (contestant.median(name) for name in ("calls_s", "cpu_us", "p50_us", "p99_us"))
            table.add_row(contestant.name, *("" if cell is None else f"{cell:,.0f}" for cell in cells))
    parts = Table("", "µs", box=None, header_style="bold")
    for contestant in field:
        for name in sorted(contestant.rounds[0].keys() & {*_PARTS}):
            parts.add_row(f"{contestant.name}: {_PARTS[name]}", f"{contestant.median(name):,.2f}")
    compared = Table("ratio of one round", "median", "range", "goal", box=None, header_style="bold")
    for ratio in found:
        low, high = min(ratio.values), max(ratio.values)
        compared.add_row(ratio.name, f"{statistics.median(ratio.values):.2f}", f"{low:.2f} … {high:.2f}", ratio.goal)
    out.print(", ".join(f"{name}: {value}" for name, value in facts().items()))
    out.print(table, "", parts, "", compared)
    for note in notes:
        out.print(f"note: {note}")


_PARTS = {
    "validation_us": "validation from bytes",
    "typed_serde_us": "typed serde, the floor of validation",
    "shell_resolution_us": "resolving a shell loop with a pipe, two parsers",
    "decision_us": "one policy decision",
    "decision_1000_us": "one policy decision with 1,000 policies more",
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="a contestant's window in each round")
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--directory", type=Path, help="where the ledgers lie: the disk that is measured [default: here]"
    )
    told_by = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix=".bench-", dir=told_by.directory or ROOT) as directory,
        ExitStack() as exits,
    ):
        field = contestants(exits, Path(directory), told_by.sessions, told_by.seconds)
        notes = measure(field, told_by.rounds)
    found = ratios(field)
    if told_by.json:
        figures = {contestant.name: contestant.rounds for contestant in field}
        values = {ratio.name: ratio.values for ratio in found}
        print(json.dumps({"facts": facts(), "figures": figures, "ratios": values, "notes": notes}))
    else:
        show(field, found, notes)


if __name__ == "__main__":
    main()
