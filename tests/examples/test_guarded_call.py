"""The example for plain gRPC clients does what it says."""

from __future__ import annotations

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
