"""Canaries through every door: what is run has them, and nothing that is written, shown or sent does."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.living import ask, make_place, work
from tests.live import Up, make_fixture, start_up
from tests.server.test_notify import SECRET, Hook, hooked, until
from tests.trace.collector import Collector, collecting

from cmdop import Client, v1
from cmdop.testing import Say, ScriptedModel

pytestmark = pytest.mark.timeout(480)

AWS = "AKIAQ3EGRZVXK4LMN7PT"
AWS_SECRET = "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"
GITHUB = "ghp_x8Kq2mZr5TnW7vBc3LdYf6HsJ9pQa1Ee"
KEY_LINES = ("MIIEpAIBAAKCAQEA7bq3vXk9Zr2LmNpQ8sTuVwYx", "plainlinesofakey")
PASSWORD = "hunter2-correct-horse"
BEARER = "tok9f3QmZx7Lw2Rv"
IN_URL = "pgPa55w0rd"
RANDOM = "Zk3vQ9xLm2Rt8WbYc5Nf7HsJ4pDg6Ka"
CANARIES = (AWS, AWS_SECRET, GITHUB, *KEY_LINES, PASSWORD, BEARER, IN_URL, RANDOM)

TEXT = (
    f"aws_access_key_id = {AWS}\n"
    f"aws_secret_access_key = {AWS_SECRET}\n"
    f"github: {GITHUB}\n"
    f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINES[0]}\n{KEY_LINES[1]}\n-----END RSA PRIVATE KEY-----\n"
    f"password={PASSWORD}\n"
    f"Authorization: Bearer {BEARER}\n"
    f"postgres://me:{IN_URL}@db.test:5432/app\n"
    f"seed {RANDOM}\n"
)
"""One of each kind, as a file, an output or a prompt has them."""


@dataclass
class Doors:
    """A server with all that it tells, and all that was said to whoever asked."""

    up: Up
    hook: Hook
    collector: Collector
    told: Path
    log: Path
    heard: list[str] = field(default_factory=list[str])

    def cmdop(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs the command line, and keeps what it says."""
        done = self.up.cmdop(*arguments, stdin=stdin)
        self.heard += [done.stdout, done.stderr]
        return done.stdout

    def call(self, *arguments: str, stdin: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.cmdop(*arguments, "--json", stdin=stdin))
        return answer

    def found(self) -> dict[str, list[bytes]]:
        """What stands around canaries, and where: everything that was written, shown or sent, to the byte."""
        told = {
            "what people were told": "\n".join(self.heard).encode(),
            "webhooks": b"\n".join(body for _, body in self.hook.came),
            "commands that notify": self.told.read_bytes(),
            "exported spans": b"\n".join(request.SerializeToString() for request in self.collector.requests),
            "the log": self.log.read_bytes(),
        }
        for path in self.up.data.rglob("*"):
            if path.is_file():
                told[str(path.relative_to(self.up.data))] = path.read_bytes()
        silent = [name for name, said in told.items() if not said and not name.endswith(("-wal", "-shm", ".lock"))]
        assert not {"what people were told", "webhooks", "commands that notify", "exported spans"} & {*silent}, silent
        anywhere = re.compile(b".{0,60}(?:" + b"|".join(re.escape(one.encode()) for one in CANARIES) + b")")
        found = {name: anywhere.findall(said) for name, said in told.items()}
        return {name: around for name, around in found.items() if around}


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    data, told, log = tmp_path / "data", tmp_path / "told.jsonl", tmp_path / "log"
    data.mkdir()
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    (data / "notify.secret").write_bytes(SECRET + b"\n")
    with hooked() as hook, collecting() as collector, log.open("w") as stderr:
        (data / "notify.toml").write_text(
            f'[[webhooks]]\nurl = "{hook.url}"\nsecret_file = "notify.secret"\n'
            f"[[commands]]\nargv = {json.dumps([sys.executable, '-c', script, str(told)])}\n"
        )
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "CMDOP_LOG": "debug"}
        up = start_up(data, make_fixture(tmp_path / "fixture"), env=env, stderr=stderr)
        try:
            yield Doors(up, hook, collector, told, log)
        finally:
            up.stop()


def command_of(doors: Doors, command: str, *expect: str, agent: str = "", **arguments: Any) -> dict[str, Any]:
    action = {
        "tool": "terminal.exec",
        "host": "local",
        "intent": f"with TOKEN={BEARER}",
        "arguments": {"command": command, "cwd": "/srv/app", **arguments},
        "expect": [{"kind": kind, "target": target} for kind, _, target in (one.partition(":") for one in expect)],
    }
    who = ("--agent", agent) if agent else ()
    return doors.call("call", "--from", "-", *who, stdin=json.dumps(action))


def test_no_canary_is_written_shown_or_sent_and_what_runs_has_it(doors: Doors) -> None:
    fixture = doors.up.fixture
    (fixture / "srv/app/settings.ini").write_text("[old]\npassword=old-password-1\n")
    # A command's arguments, environment, standard input and output, and what it does with them.
    done = command_of(
        doors,
        f"export GITHUB_TOKEN={GITHUB}; echo as {BEARER} {PASSWORD}; cat; "
        "printf '%s' \"$GITHUB_TOKEN$DB_PASSWORD\" | sha256sum",
        env={"DB_PASSWORD": PASSWORD, "SEED": RANDOM},
        stdin=TEXT,
    )
    assert done["outcome"] == "applied", done
    assert done["result"]["stdout"].split()[-2] == hashlib.sha256((GITHUB + PASSWORD).encode()).hexdigest()
    assert "[redacted:" in done["result"]["stdout"]
    # One that fails with them, and one that is malformed.
    failed = command_of(doors, f"echo 'password={PASSWORD} {GITHUB} refused {PASSWORD}' >&2; exit 3")
    assert failed["error"]["reason"] == "COMMAND_FAILED", failed
    # What names them in other ways.
    named = command_of(
        doors, f"echo '<password>{PASSWORD}</password>'; echo curl -su me:{BEARER} x.test; echo {BEARER}; echo seen"
    )
    assert named["outcome"] == "applied" and "seen" in named["result"]["stdout"], named
    malformed = doors.call(
        *("call", "terminal.exec", "--host", "local", "--arg", f"comand=mysql -p{PASSWORD}", "--arg", f"cwd={RANDOM}"),
        *("--arg", f"token={GITHUB}"),
    )
    assert malformed["error"]["violations"], malformed
    # A file's content, its diff, a person who is asked about it and what they say.
    write = ("call", "files.write", "--host", "local", "--agent", "janitor", "--intent", f"set password={PASSWORD}")
    content = ("--arg", f"content={TEXT}", "--arg", "path=/srv/app/settings.ini")
    held = doors.call(*write, *content)
    doors.cmdop("approvals", "show", held["approval_id"])
    doors.call("approvals", "show", held["approval_id"])
    doors.cmdop("approvals", "list")
    answered = doors.call("approvals", "approve", held["approval_id"], "--comment", f"fine, password={PASSWORD}")[
        "call"
    ]
    assert answered["outcome"] == "applied", answered
    assert (fixture / "srv/app/settings.ini").read_text() == TEXT, "what was approved is what was proposed"
    held = doors.call(*write, *content[:2], "--arg", "path=/srv/app/other.ini")
    doors.call("approvals", "reject", held["approval_id"], "--comment", f"no: {RANDOM}")
    # What is read back, searched and listed.
    read = doors.call("call", "files.read", "--host", "local", "--arg", "path=/srv/app/settings.ini")
    assert read["result"]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    doors.call(
        *("call", "files.search", "--host", "local", "--arg", "path=/srv/app", "--arg", "pattern=password|seed|github")
    )
    # What people say otherwise.
    frozen = doors.call("freeze", "--why", f"password={PASSWORD} leaked", "--host", "local")
    doors.cmdop("freeze", "list")
    refused = doors.call(*write, *content)
    assert refused["error"]["reason"] == "FROZEN", refused
    doors.call("freeze", "lift", frozen["freeze_id"], "--why", f"rotated {GITHUB}")
    doors.cmdop("calls", "list")
    for id in (done["call_id"], answered["call_id"], failed["call_id"], named["call_id"]):
        doors.cmdop("trace", "show", id)
        doors.call("trace", "show", id)
        doors.cmdop("calls", "show", id)
    until(lambda: len(doors.hook.came) >= 4 and doors.told.exists() and doors.collector.requests)
    anyio.run(live_and_runs, doors)
    doors.up.stop()
    assert doors.found() == {}


async def live_and_runs(doors: Doors) -> None:
    """What a watcher is shown while a command runs, and what is recorded of a model's run."""
    place = make_place(doors.up)
    model = ScriptedModel(
        [
            ask("terminal_exec", command=f"curl --version; echo 'seed {RANDOM}'; cat", cwd=place.path, stdin=TEXT),
            Say(f"The password is in TOKEN={BEARER}; password: {PASSWORD}."),
        ]
    )
    done = await work(place, model, task=f"Log in with these.\n{TEXT}")
    async with Client(doors.up.address, user="ana") as client:
        doors.heard.append(str(await client.runs.get(done.run.run_id)))
        doors.heard.append(str(await client.traces.get(done.run.run_id)))
    async with Client(doors.up.address, user="ana", agent=place.name) as client:
        command = f"echo begun; cat settings.ini; touch {place.path}/c.log"
        held = await client.calls.propose(
            "terminal.exec", "local", {"command": command, "cwd": "/srv/app"},
            intent="look", expect=[f"file.create:{place.path}/c.log"],
        )  # fmt: skip
        assert held.error.reason == v1.Reason.REASON_APPROVAL_REQUIRED, held
        said = b""
        async with client.calls.watch(held.call_id) as updates:
            async for update in updates:
                doors.heard.append(str(update))
                said += update.output.data
                doors.heard.append(update.output.data.decode())
                if b"seed" in said:
                    await client.calls.cancel(held.call_id, why=f"password={PASSWORD}")
        assert said.startswith(b"begun\n") and b"[redacted:" in said
