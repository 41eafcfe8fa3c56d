"""An agent at level `auto`: its commands change the machine directly, held to what was permitted."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

KEYS = ("call", "terminal.exec", "--host", "local", "--agent", "cleaner", "--arg", "cwd=/srv/app")


@pytest.fixture(scope="module")
def auto_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server on which the agent `cleaner` has reached `auto`."""
    directory = tmp_path_factory.mktemp("auto")
    data: Path = directory / "data"
    data.mkdir(mode=0o700)
    (data / "autonomy.toml").write_text('default = "ask"\n[agents]\ncleaner = "auto"\n')
    running = start_up(data, make_fixture(directory / "fixture"))
    yield running
    running.stop()


def test_a_declared_command_runs_directly_and_is_measured(auto_up: Up) -> None:
    path = f"/srv/app/{uuid.uuid4().hex[:8]}.txt"
    code, call = auto_up.call(
        *(*KEYS, "--arg", f"command=touch {path}", "--expect", f"file.create:{path}", "--intent", "leave a note")
    )
    assert code == 0, call
    assert call["decision"]["stage"] == "apply"
    assert [(effect["kind"], effect["target"]) for effect in call["observed"]] == [("file.create", path)]
    assert call["scores"]["clean"] is True
    assert (auto_up.fixture / path.lstrip("/")).exists()


def test_what_cannot_be_held_to_its_permit_directly_is_previewed_and_commits_by_itself(auto_up: Up) -> None:
    """More neighbours than direct mode seals one by one."""
    crowded = auto_up.fixture / "srv/app/crowded"
    crowded.mkdir()
    for number in range(300):
        (crowded / str(number)).touch()
    path = "/srv/app/crowded/new.txt"
    code, call = auto_up.call(
        *(*KEYS, "--arg", f"command=touch {path}", "--expect", f"file.create:{path}", "--intent", "leave a note")
    )
    assert code == 0, call
    assert call["decision"]["stage"] == "preview"
    assert "runs on a private copy first" in call["decision"]["reason"]
    assert [(effect["kind"], effect["target"]) for effect in call["observed"]] == [("file.create", path)]
    assert call["scores"]["clean"] is True
    assert (crowded / "new.txt").exists()


def test_what_a_person_lets_stay_runs_on_and_is_listed_with_its_call(auto_up: Up) -> None:
    seconds = f"{600_000 + os.getpid()}"
    code, held = auto_up.call(
        *(*KEYS, "--arg", f"command=nohup sleep {seconds} &", "--expect", "process.leave_running:sleep"),
        *("--intent", "keep a worker"),
    )
    assert code == 4, held
    code, _ = auto_up.call("approvals", "approve", held["approval_id"])
    assert code == 0, auto_up.call("calls", "show", held["call_id"])[1]["error"]
    code, call = auto_up.call("calls", "show", held["call_id"])
    assert (code, call["decision"]["stage"], call["outcome"]) == (0, "apply", "applied"), call
    stayed = [effect for effect in call["observed"] if effect["kind"] == "process.leave_running"]
    assert [effect["target"] for effect in stayed] == ["sleep"], call
    listed, looked = auto_up.call("call", "process.list", "--host", "local", "--arg", "name=sleep", "--intent", "look")
    assert listed == 0, looked
    processes = looked["result"]["processes"]
    mine = [process for process in processes if seconds in process["command"]]
    assert [process.get("left_by") for process in mine] == [held["call_id"]]


def test_what_is_not_foreseen_is_previewed_as_before(auto_up: Up) -> None:
    code, call = auto_up.call(*(*KEYS, "--arg", "command=./cleanup.sh", "--intent", "free disk space"))
    assert code != 0
    assert call["decision"]["stage"] != "apply", call
    assert (auto_up.fixture / "srv/app/data/app.db").exists()


def test_the_host_says_whether_it_can_confine(auto_up: Up) -> None:
    done: subprocess.CompletedProcess[str] = auto_up.cmdop("hosts", "--json")
    assert '"direct.landlock"' in done.stdout, done.stdout + done.stderr
