"""What a command was seen to change was foreseen, or it was said that nobody foresees it.

Every command runs for real, on a private copy of one tree, declared as what the vocabulary predicts from its text
alone: what was measured beyond that is a defect of the vocabulary. Links are the known exception
(`docs/design/prediction.md`): a path means what is written, and a change through a link is seen at another place.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sqlite3
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from tests.live import start_up

from cmdop import Client, v1
from cmdop._bridge import CoreDecider
from cmdop.cli.decide import Host
from cmdop.document import kind_name
from cmdop.policy import judge

CORPUS = Path(__file__).with_name("foreseen.txt")
LINKS = "# --- links"
"""Where the commands begin whose changes show at another place."""

FILES = {
    "a.txt": "alpha\nbeta\ngamma\n",
    "b.txt": "one\ntwo\n",
    "names.txt": "a.txt\nb.txt\n",
    "data.csv": "x,y\n1,2\n",
    "config.json": '{"a": 1}\n',
    "with space": "space\n",
    "readonly.txt": "fixed\n",
    "script.sh": "#!/bin/sh\ntouch made-by-script\n",
    "env.sh": "export ENV_READ=1\n",
    "fix.patch": "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n alpha\n-beta\n+BETA\n gamma\n",
    "hex.txt": "00000000: 6f6e 650a                                one.\n",
    "a.b64": "b25lCg==\n",
    "Makefile": "all:\n\ttouch made\nclean:\n\trm -f made\n",
    "sub/Makefile": "all:\n\ttouch made-in-sub\n",
    "src/main.py": 'def main():\n    print("main")\n',
    "src/util.py": "X = 1\n",
    "src/hello.c": "int main(void) { return 0; }\n",
    "src/old.pyc": "compiled",
    "docs/guide.md": "# guide\n",
    "logs/app.log": "log\n",
}

CONCURRENT = 3


@dataclass
class Seen:
    """What became of the commands."""

    states: Counter[str] = field(default_factory=Counter[str])
    ran: set[str] = field(default_factory=set[str])
    surprised: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What was seen that had not been foreseen, by command."""


@pytest.mark.timeout(900)
def test_what_a_command_changes_was_foreseen(tmp_path: Path) -> None:
    tree = tmp_path / "fixture/srv/app"
    make_tree(tree)
    foreseen, through_links = (corpus(part) for part in CORPUS.read_text().split(LINKS))
    up = start_up(tmp_path / "data", tmp_path / "fixture")
    try:
        seen = anyio.run(run_all, up.address, [*foreseen, *through_links])
    finally:
        up.stop()
    print(f"{len(seen.ran)} commands ran", dict(seen.states), sep="; ")
    surprises = {command: effects for command, effects in seen.surprised.items() if command in foreseen}
    assert not surprises, "\n".join(f"{command!r}: {effects}" for command, effects in surprises.items())
    assert len(seen.ran) >= 500
    # None of them went unseen.
    assert set(through_links) == seen.surprised.keys() - set(foreseen)


def corpus(text: str) -> list[str]:
    """The commands of a part of the corpus."""
    lines = [line for line in text.splitlines()[1:] if line and not line.startswith("#")]
    return [line.replace("⏎", "\n") for line in lines]


async def run_all(address: str, commands: list[str]) -> Seen:
    """Runs each as an agent that may do nothing without a person, who then lets nothing happen."""
    seen = Seen()
    left = iter(commands)
    async with (
        Client(address, agent="runner") as agent,
        Client(address, user="person") as person,
        anyio.create_task_group() as workers,
    ):
        for _ in range(CONCURRENT):
            workers.start_soon(run_each, agent, person, left, seen)
    return seen


async def run_each(agent: Client, person: Client, left: Iterator[str], seen: Seen) -> None:
    decider = CoreDecider(Host(home="/root", workspaces=["/srv/app"]).to_proto(), [], judge)
    for command in left:
        arguments = {"command": command, "cwd": "/srv/app", "timeout_s": 30}
        prediction = decider.decide(proposed(arguments), v1.AutonomyLevel.AUTONOMY_LEVEL_ASK).prediction
        if prediction.unanalysable:
            seen.states["unanalysable"] += 1
            continue
        expect = [v1.ExpectedEffect(kind=it.kind, target=it.target, min_count=0) for it in prediction.effects]
        call = await agent.calls.propose("terminal.exec", "local", arguments, intent="try it", expect=expect)
        seen.states[v1.CallState.Name(call.state).removeprefix("CALL_STATE_").lower()] += 1
        if call.state == v1.CallState.CALL_STATE_DIFF_HELD:
            call = await person.previews.discard(call.call_id)
        if call.HasField("result"):
            seen.ran.add(command)
        if call.side_effects:
            effects = [f"{kind_name(it.effect.kind)}:{it.effect.target}" for it in call.side_effects]
            seen.surprised[command] = effects


def proposed(arguments: dict[str, object]) -> v1.Proposal:
    action = v1.Action(tool="terminal.exec", host="local", intent="try it", arguments_json=json.dumps(arguments))
    return v1.Proposal(
        action=action, actor=v1.Actor(user="tester", agent="runner"), idempotency_key="try", author_attempt=1
    )


def make_tree(tree: Path) -> None:
    """The repository that the commands run in."""
    for directory in ("src/pkg", "docs", "logs", "backup", "emptydir", "deepempty/inner", "sub", "linkeddir"):
        (tree / directory).mkdir(parents=True)
    for name, content in FILES.items():
        (tree / name).write_text(content)
    (tree / "readonly.txt").chmod(0o444)
    for link, target in {"link-to-a": "a.txt", "dirlink": "docs", "linkeddir/up": "../docs"}.items():
        (tree / link).symlink_to(target)
    with sqlite3.connect(tree / "app.db") as database:
        database.execute("create table kept(a)")
    make_history(tree)
    make_archives(tree)


def make_history(tree: Path) -> None:
    """Two branches, one of them merged, and a tag."""

    def git(*arguments: str) -> None:
        environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        subprocess.run(["git", "-C", tree, *arguments], check=True, capture_output=True, env=environment)

    git("init", "-b", "main")
    git("config", "user.name", "somebody")
    git("config", "user.email", "somebody@example.com")
    git("add", "-A")
    git("commit", "-m", "first")
    for branch in ("merged", "feature"):
        git("checkout", "-b", branch, "main")
        (tree / f"from-{branch}.txt").write_text(branch)
        git("add", "-A")
        git("commit", "-m", branch)
    git("checkout", "main")
    git("merge", "merged")
    git("tag", "old")


def make_archives(tree: Path) -> None:
    """One of each kind, not in the repository."""
    content = b"packed\n"
    (tree / "logs/old.log.gz").write_bytes(gzip.compress(content))
    (tree / "packed.bz2").write_bytes(bz2.compress(content))
    (tree / "packed.xz").write_bytes(lzma.compress(content))
    for name, mode in (("bundle.tar", "w"), ("bundle.tar.gz", "w:gz")):
        with tarfile.open(tree / name, mode) as archive:
            archive.add(tree / "b.txt", "inner/one.txt")
            archive.add(tree / "b.txt", "inner/two.txt")
    with zipfile.ZipFile(tree / "bundle.zip", "w") as archive:
        archive.write(tree / "b.txt", "one.txt")
        archive.write(tree / "b.txt", "two.txt")
