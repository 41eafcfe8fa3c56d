"""The example for plain gRPC clients does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.live import Up

EXAMPLE = Path(__file__).parents[2] / "examples" / "guarded_call.py"


def test_a_plain_grpc_client_makes_a_guarded_call(up: Up) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE, up.address], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CALL_STATE_APPLIED" in done.stdout
    assert "/srv/app/cleanup.sh" in done.stdout


def run_at(address: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CMDOP_ADDRESS": address}
    return subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_it_reads_the_address_from_the_environment(up: Up) -> None:
    done = run_at(up.address)
    assert done.returncode == 0, done.stderr
    assert "CALL_STATE_APPLIED" in done.stdout


def test_it_says_in_a_line_that_no_server_is_there() -> None:
    done = run_at("127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1: UNAVAILABLE" in done.stderr
    assert "Traceback" not in done.stderr
