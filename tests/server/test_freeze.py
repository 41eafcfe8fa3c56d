"""A freeze with a real server and host: it stops changes, survives a kill, and only a person lifts it."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

from cmdop import v1
from cmdop.client import Client
from cmdop.errors import InvalidActionError, NotPermittedError, UnknownFreezeError

pytestmark = pytest.mark.timeout(240)

WRITE = ("call", "files.write", "--host", "local", "--arg", "path=/srv/app/new.txt", "--arg", "content=x")
READ = ("call", "files.read", "--host", "local", "--arg", "path=/logs/system.log")
DELETE = (
    "call", "terminal.exec", "--host", "local", "--arg", "command=rm -f logs/app.log", "--arg", "cwd=/srv/app",
    "--expect", "file.delete:/srv/app/logs/app.log", "--agent", "janitor", "--intent", "make room",
)  # fmt: skip


def refused(up: Up, *arguments: str) -> str:
    """The reason why a call is refused; nothing of it happened."""
    code, answer = up.call(*arguments)
    assert code == 3, answer
    return str(answer["error"]["reason"])


def test_a_freeze_stops_every_change_survives_a_kill_and_is_lifted_by_a_person(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fixture = make_fixture(tmp_path / "fixture")
    up = start_up(data, fixture, "--label", "env=production")
    _, held = up.call(*DELETE)
    assert held["state"] == "diff_held", held
    code, made = up.call("freeze", "--env", "production", "--why", "disk failure")
    assert (code, made["scope"], made["author"]) == (0, {"label": "env=production"}, "tester")
    assert refused(up, *WRITE) == "FROZEN"
    up.stop(signal.SIGKILL)
    up = start_up(data, fixture, "--label", "env=production")
    try:
        _, listed = up.call("freeze", "list")
        assert [each["freeze_id"] for each in listed] == [made["freeze_id"]]
        assert refused(up, *WRITE) == "FROZEN"
        code, answer = up.call("approvals", "approve", held["approval_id"])
        assert (code, answer["call"]["error"]["reason"]) == (3, "FROZEN"), "approved, and yet not permitted"
        assert (fixture / "srv/app/logs/app.log").exists()
        assert up.call(*READ)[0] == 0, "looking goes on"
        assert refused(up, "freeze", "lift", made["freeze_id"], "--agent", "janitor") == "NOT_PERMITTED"
        code, lifted = up.call("freeze", "lift", made["freeze_id"], "--why", "replaced")
        assert (code, lifted["lift"]["by"], lifted["lift"]["why"]) == (0, "tester", "replaced")
        assert up.call("freeze", "list") == (0, [])
        assert up.call(*WRITE)[0] == 0
        assert (fixture / "srv/app/new.txt").read_text() == "x"
    finally:
        up.stop()


def test_a_program_freezes_and_is_refused_by_type(up: Up) -> None:
    async def inner() -> None:
        async with Client(up.address, user="ada") as person, Client(up.address, user="ada", agent="janitor") as agent:
            with pytest.raises(InvalidActionError):
                await person.freezes.create("why")
            with pytest.raises(InvalidActionError):
                await person.freezes.create("why", host="local", everything=True)
            made = await agent.freezes.create("it looks wrong", host="local")
            call = await person.host("local").files.write("/srv/app/new.txt", "x")
            assert call.error.reason == v1.Reason.REASON_FROZEN
            assert "it looks wrong" in call.error.message
            with pytest.raises(NotPermittedError):
                await agent.freezes.lift(made.freeze_id)
            await person.freezes.lift(made.freeze_id)
            with pytest.raises(UnknownFreezeError):
                await person.freezes.lift(made.freeze_id)
            assert (await person.freezes.list(lifted=True))[0].lift.by.user == "ada"

    anyio.run(inner)


def test_a_freeze_is_of_exactly_one_thing(up: Up) -> None:
    assert up.cmdop("freeze", "--why", "x").returncode == 2
    assert up.cmdop("freeze", "--why", "x", "--all", "--host", "local").returncode == 2
    assert up.cmdop("freeze", "--host", "local").returncode == 2
