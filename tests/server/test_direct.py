"""An agent at level `auto`: its commands change the machine directly, held to what was permitted."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(os.geteuid() != 0, reason="direct mode needs root")]

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


def test_what_is_not_foreseen_is_previewed_as_before(auto_up: Up) -> None:
    code, call = auto_up.call(*(*KEYS, "--arg", "command=./cleanup.sh", "--intent", "free disk space"))
    assert code != 0
    assert call["decision"]["stage"] != "apply", call
    assert (auto_up.fixture / "srv/app/data/app.db").exists()


def test_the_host_says_whether_it_can_confine(auto_up: Up) -> None:
    done: subprocess.CompletedProcess[str] = auto_up.cmdop("hosts", "--json")
    assert '"direct.landlock"' in done.stdout, done.stdout + done.stderr
