"""What lies deeper than anybody looks is changed, asked about and taken back like anything else."""

from __future__ import annotations

import json

import pytest
from tests.live import Up

pytestmark = pytest.mark.timeout(180)

LEVELS = 400


def test_files_hundreds_of_levels_deep_are_made_changed_deleted_and_restored(fresh_up: Up) -> None:
    deep = "/srv/app/deep" + "/d" * LEVELS
    place = fresh_up.fixture / deep.lstrip("/")
    place.mkdir(parents=True)
    for name in ("changed", "gone"):
        (place / name).write_text("old")
    line = "echo new > changed && rm gone && mkdir -p made/d && chmod 700 . && echo new > made/d/file"
    expected = [f"file.{kind}:/srv/app/deep/**" for kind in ("create", "modify", "delete", "chmod")]
    call = ("call", "terminal.exec", "--host", "local", "--arg", f"command={line}", "--arg", f"cwd={deep}")
    code, commanded = fresh_up.call(*call, *(word for effect in expected for word in ("--expect", effect)))
    assert (code, commanded["outcome"]) == (0, "applied"), json.dumps(commanded)
    assert (place / "changed").read_text() == (place / "made/d/file").read_text() == "new\n"
    assert not (place / "gone").exists()
    assert restored(fresh_up, commanded["call_id"]) == "applied"
    assert (place / "changed").read_text() == (place / "gone").read_text() == "old"
    assert not (place / "made").exists()
    arguments = ("--arg", f"path={deep}/changed", "--arg", "content=newer")
    code, written = fresh_up.call("call", "files.write", "--host", "local", *arguments)
    assert (code, written["outcome"], (place / "changed").read_text()) == (0, "applied", "newer"), json.dumps(written)
    assert restored(fresh_up, written["call_id"]) == "applied"
    assert (place / "changed").read_text() == "old"


def restored(up: Up, call_id: str) -> str:
    """What became of an undo."""
    outcome: str = up.call("undo", call_id)[1]["outcome"]
    return outcome
