"""The hand-written stub describes the module as it is."""

from __future__ import annotations

import subprocess
import sys


def test_the_stub_of_the_core_is_true() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "cmdop._core"], capture_output=True, text=True, timeout=110, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr
