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
