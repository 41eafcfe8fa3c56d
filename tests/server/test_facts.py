"""What a run did before, on a real host: its own files, what it moved, and what people granted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

from cmdop import v1
from cmdop.client import Client

pytestmark = pytest.mark.timeout(180)

APP = "/srv/app"


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server whose agent `maker` works without a person's look at each diff."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "autonomy.toml").write_text('default = "ask"\n[agents]\nmaker = "preview"\n')
    up = start_up(data, make_fixture(tmp_path / "fixture"))
    try:
        yield up
    finally:
        up.stop()


def act(up: Up, *calls: tuple[str, list[str]], agent: str = "maker", run: str = "r1") -> list[str]:
    """Commands of an agent's run, one after another: `applied`, `held`, or the reason of a refusal."""

    async def inner() -> list[str]:
        became: list[str] = []
        async with Client(up.address, user="ada", agent=agent, run=run) as client:
            for command, declared in calls:
                call = await client.host("local").terminal.exec(command, cwd=APP, intent="work", expect=declared)
                became.append(outcome(call))
        return became

    return anyio.run(inner, backend="trio")


def outcome(call: v1.Call) -> str:
    if call.state in (v1.CallState.CALL_STATE_HELD, v1.CallState.CALL_STATE_DIFF_HELD):
        return "held"
    if call.HasField("error"):
        return v1.Reason.Name(call.error.reason)
    return v1.Outcome.Name(call.outcome).removeprefix("OUTCOME_").lower()


def test_a_run_deletes_what_it_made_and_a_person_looks_at_everything_else(up: Up) -> None:
    """In files, databases, and a whole repository with its hooks; by any tool, and after a kill."""
    made = (f"file.create:{APP}/new.db", f"file.create:{APP}/repo/**")
    repository = "mkdir -p repo/.git/objects && echo x > repo/.git/HEAD && echo y > repo/a.txt"
    assert act(up, ("echo rows > new.db", [made[0]]), (repository, [made[1]])) == ["applied", "applied"]
    deletions: dict[str, tuple[str, list[str]]] = {
        "new.db": ("rm new.db", [f"file.delete:{APP}/new.db"]),
        "repo": ("rm -rf repo", [f"file.delete:{APP}/repo"]),
        "app.db": ("rm data/app.db", [f"file.delete:{APP}/data/app.db"]),
    }
    assert act(up, *deletions.values(), run="r2") == ["held", "held", "held"]
    up.stop(signal.SIGKILL)
    (up.fixture / "srv/app/repo/.git/HEAD").write_text("replaced by hand\n")
    again = start_up(up.data, up.fixture)
    try:
        assert act(again, *deletions.values()) == ["applied", "held", "held"]
        # As it was made, it is the run's own again.
        (again.fixture / "srv/app/repo/.git/HEAD").write_text("x\n")
        assert act(again, deletions["repo"]) == ["applied"]
        assert not (again.fixture / "srv/app/repo").exists()
        # The floor asks nobody who made it.
        assert act(again, ("rm -rf /etc", ["file.delete:/etc"])) == ["REASON_FLOOR_DENIED"]
    finally:
        again.stop()


def test_the_only_copy_of_what_a_run_moved_is_asked_about(up: Up) -> None:
    rename = ("mv logs/app.log kept.log", [f"file.rename:{APP}/logs/app.log", f"file.create:{APP}/kept.log"])
    copied = ("cp logs/app.log.1.gz copy.gz", [f"file.create:{APP}/copy.gz"])
    original_gone = ("rm logs/app.log.1.gz", [f"file.delete:{APP}/logs/app.log.1.gz"])
    assert act(up, rename, copied) == ["applied", "applied"]
    assert act(up, ("rm kept.log", [f"file.delete:{APP}/kept.log"])) == ["held"]
    # Another run may: it moved nothing there.
    assert act(up, ("rm kept.log", [f"file.delete:{APP}/kept.log"]), run="r2") == ["applied"]
    assert act(up, original_gone) == ["applied"]
    assert (up.fixture / "srv/app/copy.gz").exists()


def test_what_a_person_refused_is_refused_by_another_directory_tool_and_run(up: Up) -> None:
    async def inner() -> list[str]:
        became: list[str] = []
        async with Client(up.address, user="ada", agent="janitor") as above:
            parent = (await above.runs.start("make room")).run_id
        async with (
            Client(up.address, user="ada", agent="janitor", run=parent) as client,
            Client(up.address, user="grace") as person,
        ):
            target = f"{APP}/logs/app.log"
            expect = [f"file.delete:{target}"]
            call = await client.host("local").terminal.exec("rm logs/app.log", cwd=APP, intent="room", expect=expect)
            await person.approvals.reject(call.approval.approval_id, comment="we need it")
            child = (await client.runs.start("the same by somebody else")).run_id
            async with Client(up.address, user="ada", agent="maker", run=child) as other:
                host = other.host("local")
                tries = [
                    await host.terminal.exec("cd logs && rm app.log", cwd=APP, intent="room", expect=expect),
                    await host.terminal.exec("rm app.log", cwd=f"{APP}/logs", intent="room", expect=expect),
                    await host.terminal.exec(
                        "find . -name app.log -delete", cwd=f"{APP}/logs", intent="room", expect=expect
                    ),
                    await host.files.delete(target, intent="room"),
                    await host.terminal.exec(
                        "mv logs/app.log /tmp/x",
                        cwd=APP,
                        intent="room",
                        expect=[f"file.rename:{target}", "file.create:/tmp/x"],
                    ),
                    await host.terminal.exec(
                        ": > logs/app.log", cwd=APP, intent="room", expect=[f"file.modify:{target}"]
                    ),
                    await host.terminal.exec("rm -rf logs", cwd=APP, intent="room", expect=[f"file.delete:{APP}/logs"]),
                ]
                became += [outcome(call) for call in tries]
        return became

    became = anyio.run(inner, backend="trio")
    assert became == ["REASON_DENIED_BEFORE"] * 7
    assert (up.fixture / "srv/app/logs/app.log").read_text() == "now\n"


def test_a_standing_grant_answers_for_a_person_and_shows_what_is_left(up: Up) -> None:
    def delete(name: str) -> str:
        deletion = (f"rm logs/{name}", [f"file.delete:{APP}/logs/{name}"])
        return act(up, deletion, agent="janitor")[0]

    code, made = grant(up, "file.delete:/srv/app/logs/*.gz", "--uses", "1")
    assert (code, made["remaining"], made["status"], made["hosts"]) == (0, 1, "in_force", {"host": "local"})
    assert [delete("app.log"), delete("app.log.1.gz"), delete("app.log.2.gz")] == ["held", "applied", "held"]
    code, shown = up.call("grants", "show", made["grant_id"])
    assert (code, shown["remaining"], shown["status"]) == (0, 0, "spent")
    used = up.cmdop("calls", "list", "--json").stdout
    assert made["grant_id"] in used
    assert up.call("grants", "list") == (0, [])
    _, second = grant(up, "file.delete:/srv/app/logs/*", "--uses", "9")
    assert "9 of 9 uses left" in up.cmdop("grants", "list").stdout
    code, revoked = up.call("grants", "revoke", second["grant_id"], "--why", "no more")
    assert (code, revoked["status"], revoked["revocation"]["by"]) == (0, "revoked", "tester")
    assert delete("app.log.2.gz") == "held"
    code, refused = up.call("grants", "revoke", second["grant_id"])
    assert refused["error"]["reason"] == "UNKNOWN_GRANT"
    code, refused = grant(up, "file.delete:/**", "--uses", "1")
    assert (code, refused["error"]["reason"]) == (2, "INVALID_ACTION")
    every: Any = up.call("grants", "list", "--all")[1]
    assert every[0]["grant_id"] == second["grant_id"]


def grant(up: Up, effect: str, *more: str) -> tuple[int, Any]:
    return up.call(
        "grants", "create", effect, "--to", "janitor", "--host", "local", "--for", "1h", "--why", "nightly", *more
    )
