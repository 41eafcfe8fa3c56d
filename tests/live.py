"""A real server with a host on a fixture, as `cmdop up` starts them."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from cmdop import v1

READY_S = 60.0
"""How long `cmdop up` may take to be ready on a busy machine."""


@dataclass
class Up:
    """A running `cmdop up`."""

    process: subprocess.Popen[str]
    address: str
    data: Path
    fixture: Path
    ready_line: str

    def cmdop(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command line against it, in a process of its own."""
        environment = os.environ | {"CMDOP_ADDRESS": self.address, "CMDOP_USER": "tester"}
        return subprocess.run(
            [sys.executable, "-m", "cmdop", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )

    def call(self, *arguments: str, stdin: str | None = None) -> tuple[int, dict[str, Any]]:
        """Runs a command with `--json`: its exit code and what it printed."""
        done = self.cmdop(*arguments, "--json", stdin=stdin)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def start_up(
    data: Path, fixture: Path, *arguments: str, env: Mapping[str, str] | None = None, stderr: IO[str] | None = None
) -> Up:
    """Starts `cmdop up` on a free port, and waits until it is ready."""
    command = [sys.executable, "-m", "cmdop", "up", "--data", str(data), "--listen", "127.0.0.1:0"]
    command += ["--fixture", str(fixture), "--workspace", "/srv/app", *arguments]
    environment = os.environ | dict(env or {})
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
    line = first_line(process)
    if not line.startswith("cmdop ready on "):
        process.kill()
        raise AssertionError(f"cmdop up was not ready: {line!r}, status {process.wait()}")
    return Up(process, line.split()[3], data, fixture, line.rstrip("\n"))


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line of a starting server, which says that it is ready."""
    assert process.stdout is not None
    deadline = time.monotonic() + READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not selector.select(max(0.0, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                process.kill()
                process.wait()
                return "nothing in time"
    return process.stdout.readline()


def frames(content: bytes) -> Iterator[bytes]:
    """The whole records of a segment, by the layout that `core_rs/ledger/src/log.rs` describes."""
    header, frame = 8 + 8 + 32 + 4, 4 + 4 + 32
    at = header
    while len(content) >= at + frame:
        end = at + frame + int.from_bytes(content[at : at + 4], "little")
        if end > len(content):
            return
        yield content[at + frame : end]
        at = end


def recorded(ledger: Path) -> list[v1.Event]:
    """Every event that is in a ledger's files now. Nobody is asked, so nobody need be awake."""
    segments = sorted(ledger.glob("*.log"))
    return [v1.Event.FromString(payload) for path in segments for payload in frames(path.read_bytes())]


def make_fixture(root: Path) -> Path:
    """The machine of the demo: an application with logs and a database, and logs of the system."""
    if os.geteuid() != 0:
        pytest.skip("a fixture takes the place of the machine's root directory, which only root may mount")
    for path, content in {
        "srv/app/logs/app.log.1.gz": "old" * 100,
        "srv/app/logs/app.log.2.gz": "older" * 100,
        "srv/app/logs/app.log": "now\n",
        "srv/app/data/app.db": "rows",
        "srv/app/cleanup.sh": "#!/bin/bash\nrm -f /srv/app/logs/*.gz\nrm -f /srv/app/data/app.db\n",
        "logs/system.log": "kernel\n",
    }.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    (root / "srv/app/cleanup.sh").chmod(0o755)
    return root
