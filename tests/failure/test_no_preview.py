"""A machine on which no preview can run: one cause, said in one sentence wherever it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live import READY_S, Up, first_line

pytestmark = pytest.mark.timeout(180)

WITHOUT_MOUNTS = ("unshare", "--map-root-user", "--user", "sh", "-c")
"""A user namespace of its own has limits of its own: nothing of this reaches the machine."""
LIMIT = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$0" "$@"'
CAUSE = "the kernel makes no more namespaces here: `user.max_mnt_namespaces` (0) is met"
REMEDY = "raise it, as with `sysctl user.max_mnt_namespaces=65536`, and start the host again"


def limited(*arguments: str) -> list[str]:
    """The command line of cmdop where no mount namespace can be made."""
    return [*WITHOUT_MOUNTS, LIMIT, sys.executable, "-m", "cmdop", *arguments]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    (tmp_path / "work").mkdir()
    command = limited("up", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    command += ["--workspace", str(tmp_path / "work")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    line = first_line(process)
    assert line.startswith("cmdop ready on "), (line, READY_S)
    running = Up(process, line.split()[3], tmp_path / "data", tmp_path / "work", line)
    yield running
    running.stop()


def test_a_command_is_refused_with_the_sentence_of_doctor_and_native_tools_go_on(up: Up) -> None:
    made = up.fixture / "made"
    arguments = ("--arg", f"cwd={up.fixture}", "--arg", "command=sh -c 'touch made'")
    code, call = up.call("call", "terminal.exec", "--host", "local", *arguments, "--expect", f"file.create:{made}")
    assert (code, call["error"]["reason"]) == (3, "PREVIEW_UNAVAILABLE"), call
    assert CAUSE in call["error"]["message"] and "No space left" not in call["error"]["message"]
    assert call["error"]["remedy"] == {"kind": "stop", "why": REMEDY}
    assert not made.exists()

    doctor = subprocess.run(limited("doctor", "--json"), capture_output=True, text=True, timeout=60, check=False)
    found = {one["name"]: one for one in json.loads(doctor.stdout)["capabilities"]}
    assert found["preview.overlay"]["detail"] == f"{CAUSE}; {REMEDY}"
    assert f"{CAUSE}; {REMEDY}" in call["error"]["message"]
    for name in ("preview.complete", "direct.landlock", "network.permits", "observe.processes"):
        assert (found[name]["available"], found[name]["detail"]) == (False, "needs `preview.overlay`"), name

    code, call = up.call(
        *("call", "files.write", "--host", "local", "--arg", f"path={made}", "--arg", "content=by a native tool")
    )
    assert code == 0, call
    assert made.read_text() == "by a native tool"
