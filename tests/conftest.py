"""What every room's tests share: both event loops, and a real server with a host on a fixture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import Up, make_fixture, start_up


@pytest.fixture(scope="session", autouse=True)
def no_terminal() -> None:
    """What is read here comes from pipes. The runner imports readline, which says that a terminal is 80 wide."""
    for name in ("COLUMNS", "LINES"):
        # It said so behind Python's back: `os.environ` has no such names.
        os.unsetenv(name)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Code with an event loop is tested on both."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server and host for the whole session. Tests work in directories of their own."""
    directory = tmp_path_factory.mktemp("up")
    running = start_up(directory / "data", make_fixture(directory / "fixture"))
    yield running
    running.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def fresh_up(tmp_path: Path) -> Iterator[Up]:
    """A server and host of this test's own."""
    running = start_up(tmp_path / "data", make_fixture(tmp_path / "fixture"))
    yield running
    running.stop()
