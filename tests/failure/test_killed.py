"""Server and host killed together, with all their processes, at any point of a call: what it changes is as before or as
after, and the next start says which.

`CMDOP_KILLS` sets how often, `CMDOP_SEED` where.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, make_fixture, recorded, start_up

from cmdop import v1

KILLS = int(os.environ.get("CMDOP_KILLS", "8"))
SEED = os.environ.get("CMDOP_SEED", "1")

pytestmark = pytest.mark.timeout(120 + 60 * KILLS)

MOST_EVENTS = 8
"""That a call without an approval leaves, from its proposal to its end."""

MOST_S = 0.08
"""From an event to the kill: most steps between two events take less."""

FILES = 60

SCRIPT = """
for file in keep*; do echo new > $file; done
rm -r gone; mv old name; chmod 600 mode; ln -s name link; mkdir -p made/deep
for number in {1..60}; do echo $number > made/deep/$number; done
"""

EXACT, LOOSE = True, False


def state(tree: Path, exact: bool) -> dict[str, tuple[Any, ...]]:
    """What is beneath a directory, with times or without."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        what = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = (what.st_mtime_ns,) if exact else ()
        found[str(path.relative_to(tree))] = (stat.filemode(what.st_mode), content, *times)
    return found


@dataclass
class Round:
    """One call that is killed: its command line, and what there is to see before and after it."""

    arguments: tuple[str, ...]
    is_before: Callable[[], bool]
    is_after: Callable[[], bool]


class Machine:
    """`cmdop up` on a fixture, killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fixture = make_fixture(directory / "fixture")
        self.up = self.start()

    def start(self) -> Up:
        return start_up(self.directory / "data", self.fixture)

    def events(self) -> list[v1.Event]:
        return recorded(self.up.data / "server/log")

    def calls(self) -> set[str]:
        return {event.subject for event in self.events() if event.HasField("call_proposed")}

    def kill(self) -> None:
        """Kills everything that it started, itself first."""
        first = self.up.process.pid
        family = [first, *descendants(first)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.up.stop(signal.SIGKILL)

    def tree(self, name: str) -> Path:
        """A directory full of files of which a command changes most."""
        tree = self.fixture / "srv/app" / name
        for number in range(FILES):
            (tree / "gone" / str(number)).mkdir(parents=True)
            (tree / f"keep{number}").write_text("old")
        for file in ("old", "mode"):
            (tree / file).write_text(file)
        return tree

    def command(self, tree: Path) -> tuple[str, ...]:
        place = "/" + str(tree.relative_to(self.fixture))
        kinds = ("create", "modify", "delete", "rename", "chmod")
        expected = [word for kind in kinds for word in ("--expect", f"file.{kind}:{place}/**")]
        arguments = ("--arg", f"command={SCRIPT}", "--arg", f"cwd={place}")
        return ("call", "terminal.exec", "--host", "local", *arguments, *expected)

    def after(self, tree: Path) -> dict[str, tuple[Any, ...]]:
        """What the command makes of it, run on a copy."""
        copy = self.directory / "copy"
        shutil.copytree(tree, copy, symlinks=True)
        subprocess.run(["bash", "-c", SCRIPT], cwd=copy, check=True)
        made = state(copy, LOOSE)
        shutil.rmtree(copy)
        return made

    def applied(self, *arguments: str) -> dict[str, Any]:
        code, call = self.up.call(*arguments)
        assert (code, call["outcome"]) == (0, "applied"), json.dumps(call)
        return call


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def a_command(machine: Machine, name: str) -> Round:
    """Previewed, and committed because it was declared."""
    tree = machine.tree(name)
    before, after = state(tree, EXACT), machine.after(tree)
    return Round(machine.command(tree), lambda: state(tree, EXACT) == before, lambda: state(tree, LOOSE) == after)


def a_held_command(machine: Machine, name: str) -> Round:
    """An agent's, whose diff waits for a person."""
    command = a_command(machine, name)
    return Round(
        (*command.arguments, "--agent", "janitor", "--intent", "make room"), command.is_before, command.is_after
    )


def an_undo(machine: Machine, name: str) -> Round:
    """Of a command that was applied."""
    tree = machine.tree(name)
    old = state(tree, EXACT)
    call = machine.applied(*machine.command(tree))
    new = state(tree, EXACT)
    return Round(("undo", call["call_id"]), lambda: state(tree, EXACT) == new, lambda: state(tree, EXACT) == old)


def a_deployment(machine: Machine, name: str) -> Round:
    """A release that goes live."""
    source, root = machine.tree(f"build/{name}"), machine.fixture / "srv/app/web"
    root.mkdir(exist_ok=True)
    current, release = root / "current", root / "releases" / name
    live = os.readlink(current) if current.is_symlink() else None
    place = ("--host", "local", "--arg", "root=/srv/app/web", "--arg", f"release={name}")
    place += ("--arg", f"source=/srv/app/build/{name}")
    code, plan = machine.up.call("call", "deploy.plan", *place)
    assert code == 0, plan
    whole = state(source, LOOSE)

    def is_before() -> bool:
        return (os.readlink(current) if current.is_symlink() else None) == live and not release.exists()

    def is_after() -> bool:
        return current.is_symlink() and current.resolve() == release and state(release, LOOSE) == whole

    digest = f"digest={plan['result']['digest']}"
    return Round(("call", "deploy.release", *place, "--arg", digest), is_before, is_after)


def killed(machine: Machine, now: Round, chance: random.Random) -> tuple[str, str]:
    """Kills everything at some point of a call, starts it again, and says what became of the call and why."""
    known, events = machine.calls(), len(machine.events())
    wanted, pause_s = chance.randint(1, MOST_EVENTS), chance.uniform(0, MOST_S)
    command = [sys.executable, "-m", "cmdop", *now.arguments, "--json", "--server", machine.up.address]
    client = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"CMDOP_USER": "tester"}
    )
    while client.poll() is None and len(machine.events()) - events < wanted:
        time.sleep(0.002)
    time.sleep(pause_s)
    machine.kill()
    client.kill()
    client.wait()
    machine.up = machine.start()
    return settled(machine, machine.calls() - known)


def settled(machine: Machine, new: set[str]) -> tuple[str, str]:
    """What became of the one call that is new, if it is known at all."""
    if not new:
        return "unknown", ""
    (call_id,) = new
    deadline = time.monotonic() + 60
    while True:
        _, call = machine.up.call("calls", "show", call_id)
        if call["outcome"] is not None:
            why: str = call["error"]["reason"] if call["error"] else ""
            return str(call["outcome"]), why
        if call["approval_id"] and call["state"] not in ("permitted", "running"):
            return "held", str(call["approval_id"])
        assert time.monotonic() < deadline, call
        time.sleep(0.1)


ROUNDS = (a_command, an_undo, a_deployment, a_held_command)


def test_everything_killed_at_any_point_leaves_all_or_nothing_and_says_which(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    met: Counter[str] = Counter()
    try:
        for number in range(KILLS):
            chance = random.Random(f"{SEED}-{number}")
            kind = ROUNDS[number % len(ROUNDS)]
            now = kind(machine, f"round{number}")
            assert now.is_before() and not now.is_after()
            outcome, why = killed(machine, now, chance)
            context = f"CMDOP_SEED={SEED}, kill {number}, {kind.__name__}: {outcome} {why}"
            if outcome == "held":
                assert now.is_before(), context
                code, approved = machine.up.call("approvals", "approve", why)
                assert (code, approved["call"]["outcome"]) == (0, "applied"), f"{context}: {json.dumps(approved)}"
                assert now.is_after(), context
                outcome, why = "held, then applied", ""
            elif outcome == "applied":
                assert now.is_after(), context
            else:
                assert outcome in ("not_applied", "unknown") and now.is_before(), context
                # Whoever finds it refused is told why.
                assert outcome == "unknown" or why, context
            met[f"{kind.__name__}: {outcome} {why}"] += 1
    finally:
        machine.up.stop()
    for name, count in sorted(met.items()):
        print(f"{count} kills of {name}")
