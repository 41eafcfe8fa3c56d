"""Secrets of the machine and an agent's commands, through a real server and host."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up

pytestmark = pytest.mark.timeout(180)

SECRET = "TOKEN=hunter2-of-the-machine"
READ_SECRET = f"TOKEN=[redacted:{len('hunter2-of-the-machine')}:"
"""What is told of output in which the command saw it."""

READ = """
import sys
for path in ("/srv/app/NAME/.env", "/srv/app/NAME/way", "/proc/self/root/srv/app/NAME/.env", "/etc/shadow"):
    try: print(path, open(path).read())
    except OSError as error: print(path, "errno", error.errno)
"""


@pytest.fixture
def place(up: Up) -> Path:
    """A directory of the workspace with a secret, seen from outside of the fixture."""
    place: Path = up.fixture / "srv/app" / uuid.uuid4().hex[:8]
    place.mkdir()
    (place / ".env").write_text(SECRET + "\n")
    (place / "way").symlink_to(f"/srv/app/{place.name}/.env")
    return place


def terminal(up: Up, command: str, *more: str, agent: str | None = "janitor") -> tuple[int, dict[str, Any]]:
    who = ["--agent", agent] if agent else []
    arguments = ["--arg", f"command={command}", "--arg", "cwd=/srv/app", "--intent", "look at the settings"]
    return up.call("call", "terminal.exec", "--host", "local", *who, *arguments, *more)


def test_a_script_of_an_agent_reads_nothing_of_a_secret_and_the_trace_says_so(up: Up, place: Path) -> None:
    script = READ.replace("NAME", place.name)
    code, call = terminal(up, f"python3 -c '{script.replace(chr(39), chr(34))}'")
    assert code == 0, call
    assert call["unanalysable"], call
    lines = call["result"]["stdout"].split("\n")
    assert len(lines) == 5 and all(line.endswith("errno 13") for line in lines[:3]), lines
    assert call["decision"]["masks"] == {"classes": ["secrets", "cmdop"], "shown": []}
    assert f"/srv/app/{place.name}/.env" in call["masked"]["paths"]
    trace = up.cmdop("trace", "show", call["call_id"]).stdout
    assert "hides secrets and cmdop from the command" in trace, trace
    assert f"/srv/app/{place.name}/.env" in trace
    for told in (json.dumps(call), trace, up.cmdop("trace", "show", call["call_id"], "--json").stdout):
        assert "hunter2" not in told


def test_a_secret_of_an_application_outside_of_the_workspaces_is_hidden_too(up: Up) -> None:
    settings = up.fixture / "logs" / uuid.uuid4().hex[:8] / "config"
    settings.mkdir(parents=True)
    (settings / ".env").write_text(SECRET + "\n")
    path = f"/logs/{settings.parent.name}/config/.env"
    code, call = terminal(up, f"python3 -c 'print(open(\"{path}\").read())'")
    assert code == 5, call
    assert path in call["masked"]["paths"]
    assert "hunter2" not in json.dumps(call)
    assert f"names {path}, which is masked" in call["error"]["message"], call
    remedy = call["error"]["remedy"]
    assert (remedy["kind"], [(it["kind"], it["target"]) for it in remedy["effects"]]) == (
        "declare_effect",
        [("file.read", path)],
    )


def test_a_person_may_read_what_policy_lets_people_read(up: Up, place: Path) -> None:
    code, call = terminal(up, f"python3 -c 'print(open(\"/srv/app/{place.name}/.env\").read())'", agent=None)
    assert code == 0, call
    assert call["result"]["stdout"].startswith(READ_SECRET), call
    assert call["masked"]["count"] == 0


def test_a_secret_that_a_person_approved_is_read_and_no_other(up: Up, place: Path) -> None:
    (place / "other.pem").write_text(SECRET)
    code, call = terminal(up, f"cat {place.name}/.env && python3 -c 'print(open(\"{place.name}/other.pem\").read())'")
    assert code == 4, call
    assert call["decision"]["masks"]["shown"] == [f"/srv/app/{place.name}/.env"]
    up.call("approvals", "approve", call["approval_id"])
    code, call = up.call("calls", "show", call["call_id"])
    assert code == 0
    assert call["result"]["stdout"].startswith(READ_SECRET), call
    assert "Permission denied" in call["result"]["stderr"]


def test_a_script_that_says_it_changes_a_secret_is_asked_about_first(up: Up, place: Path) -> None:
    line = f'python3 -c \'open("/srv/app/{place.name}/.env", "a").write("more")\''
    code, call = terminal(up, line, "--expect", f"file.modify:/srv/app/{place.name}/.env")
    assert code == 4, call
    assert call["decision"]["policies"][0] == "workspace.secrets", call
    assert call["result"] is None


def test_a_tree_with_a_secret_is_deleted_and_the_secret_listed(up: Up, place: Path) -> None:
    tree = f"/srv/app/{place.name}"
    code, call = terminal(up, f"rm -rf {tree}", "--expect", f"file.delete:{tree}")
    assert code == 4, call
    assert ("file.delete", f"{tree}/.env") in [(effect["kind"], effect["target"]) for effect in call["observed"]]
    assert f"{tree}/.env" in call["masked"]["paths"]
    up.call("approvals", "approve", call["approval_id"])
    code, call = up.call("calls", "show", call["call_id"])
    assert call["outcome"] == "applied", call
    assert not place.exists()
