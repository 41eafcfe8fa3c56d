"""Brings about the reasons of the table on real servers, and keeps what was answered for their pages.

`python tools/error_examples.py` writes `docs/errors/examples.json`; it takes minutes and must be root, as whoever
starts a host on a fixture. With names of reasons it brings about these alone. A reason that no command brings about
says why.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs/errors/examples.json"
sys.path.insert(0, str(ROOT))

from tests.live import Up, first_line, make_fixture, start_up  # noqa: E402

from cmdop.server.approvers import Approver, changing, digest_of, new_token  # noqa: E402

ID = "01a20000000070008000000000000000"
"""Stands for every id of a call, an approval or a freeze: pages do not change with each capture."""

CALL = "cmdop call {} --host local --intent 'an example' --json"


@dataclass(frozen=True)
class Example:
    """Commands of which the last is answered with the error."""

    reason: str
    typed: tuple[str, ...]
    policy: str = "workspace"


def call(tool: str, *rest: str) -> str:
    """The command of a call."""
    return " ".join([CALL.format(tool), *rest])


def told(document: dict[str, Any]) -> str:
    """The command of a call that is given as JSON."""
    text = json.dumps({"host": "local", "intent": "an example"} | document)
    return f"echo {shlex.quote(text)} | cmdop call --from - --json"


def run(command: str, *rest: str, cwd: str = "/srv/app") -> str:
    """The command of a call of `terminal.exec`."""
    return call("terminal.exec", f"--arg command={shlex.quote(command)}", f"--arg cwd={cwd}", *rest)


HELD = call("files.delete", "--arg path=/etc/app.conf")
HELD_DIFF = call("files.write", "--agent janitor --arg path=/srv/app/held.txt --arg content=mine")
REMOVED = run("apt-get remove -y nginx", "--agent janitor --expect package.remove:nginx")
OF_A_RUN = """python - <<'.'
import anyio, json
from cmdop import Client
from cmdop.document import call_document

async def main():
    async with Client(agent="janitor") as agent:
        run = await agent.runs.start("tidy up")
    async with Client(agent="janitor", run=run.run_id) as client:
        notes = {"path": "/srv/app/notes.txt"}
        held = await client.calls.propose("files.delete", "local", notes, intent="an example")
        %s
        print(json.dumps(call_document(call)))

anyio.run(main)
."""
"""What only an agent that works in a run can bring about."""
SITE = "--arg root=/srv/app/site --arg release=v1 --arg source=/srv/app/build"

RELEASE = told({"tool": "deploy.release", "arguments": {
    "root": "/srv/app/site", "release": "v1", "source": "/srv/app/build", "digest": "{digest}",
    "check_before": {"port": 1, "retries": 9, "interval_ms": 900},
}})  # fmt: skip
"""It waits for a service that nobody starts."""
UNKNOWN_RUN = """python - <<'.'
import anyio, json
from cmdop import Client
from cmdop.document.render import error_document
from cmdop.errors import UnknownRunError

async def main():
    async with Client() as client:
        try:
            await client.runs.get("no-such-run")
        except UnknownRunError as error:
            print(json.dumps(error_document(error.proto)))

anyio.run(main)
."""

PROVOKED = (
    Example("MALFORMED_JSON", ("echo '{\"tool\": \"files.read\",}' | cmdop call --from - --json",)),
    Example("INVALID_ARGUMENTS", (call("files.read", "--arg file=/srv/app/notes.txt"),)),
    Example("INVALID_ACTION", (told({"tool": "files.read ", "arguments": {"path": "/srv/app/notes.txt"}}),)),
    Example("INVALID_EFFECT", (run("rm notes.txt", "--expect file.remove:notes.txt"),)),
    Example("ARGUMENTS_TOO_LARGE", (
        "head -c 1100000 /dev/zero | tr '\\0' x | (printf '{\"tool\": \"files.write\", \"host\": \"local\", \"intent\": \"an example\", "
        "\"arguments\": {\"path\": \"/srv/app/big\", \"content\": \"'; cat; printf '\"}}') | cmdop call --from - --json",
    )),
    Example("MALFORMED_COMMAND", (run("echo 'open"),)),
    Example("UNKNOWN_TOOL", (told({"tool": "read_file", "arguments": {"path": "/srv/app/notes.txt"}}),)),
    Example("UNKNOWN_HOST", (told({"tool": "files.read", "host": "localhost", "arguments": {"path": "/srv/app/notes.txt"}}),)),
    Example("UNDECLARED_EFFECT", (run("rm notes.txt"),)),
    Example("KEY_CONFLICT", (
        call("files.read", "--arg path=/srv/app/notes.txt --key once"),
        call("files.list", "--arg path=/srv/app --key once"),
    )),
    Example("UNKNOWN_CALL", ("cmdop calls show no-such-call --json",)),
    Example("FLOOR_DENIED", (run("rm -rf /", "--expect file.delete:/"),)),
    Example("POLICY_DENIED", (call("files.delete", "--arg path=/srv/app/notes.txt"),), policy="read-only"),
    Example("NOT_PERMITTED", (call("files.delete", "--arg path=/srv/app/notes.txt"),), policy="LOOKS"),
    Example("APPROVAL_REQUIRED", (HELD,)),
    Example("APPROVAL_REJECTED", (
        HELD, "cmdop approvals reject {approval} --comment 'it is needed' >/dev/null; cmdop calls show {call} --json",
    )),
    Example("APPROVAL_NOT_PENDING", (
        HELD, "cmdop approvals reject {approval} >/dev/null; cmdop approvals approve {approval} --json",
    )),
    Example("UNKNOWN_APPROVAL", ("cmdop approvals show no-such-approval --json",)),
    Example("UNKNOWN_FREEZE", ("cmdop freeze lift no-such-freeze --json",)),
    Example("UNKNOWN_GRANT", ("cmdop grants revoke no-such-grant --json",)),
    Example("UNAUTHENTICATED", ("cmdop freeze --all --why 'the database is being moved' --json",), policy="KNOWN"),
    Example("FROZEN", (
        "cmdop freeze --all --why 'the database is being moved' --json",
        call("files.delete", "--arg path=/srv/app/notes.txt"),
    ), policy="ci"),
    Example("CANCELLED", (HELD, "cmdop calls cancel {call} --why 'no longer needed' --json")),
    Example("COMMAND_FAILED", (run("make deploy"),)),
    Example("TIMED_OUT", (run("sleep 60", "--arg timeout_s=1"),)),
    Example("LIMIT_EXCEEDED", (
        run("dd if=/dev/zero of=big bs=1M count=2", "--arg file_mb=1", "--expect file.create:big"),
    )),
    Example("EFFECT_MISSING", (run("ls", "--expect file.delete:notes.txt"),)),
    Example("PATH_NOT_FOUND", (call("files.read", "--arg path=/srv/app/none.txt"),)),
    Example("PATH_EXISTS", (call("files.copy", "--arg from=/srv/app/notes.txt --arg to=/srv/app/other.txt"),)),
    Example("PATH_NOT_USABLE", (call("files.read", "--arg path=/srv/app/link"),)),
    Example("CONTENT_CHANGED", (
        call("files.write", "--arg path=/srv/app/notes.txt --arg content=mine", f"--arg expected_sha256={'0' * 64}"),
    )),
    Example("NOT_RESTORABLE", (
        call("files.write", "--arg path=/srv/app/undone.txt --arg content=one"),
        call("files.write", "--arg path=/srv/app/undone.txt --arg content=two >/dev/null") + "; cmdop undo {call} --json",
    )),
    Example("RELEASE_CONFLICT", (call("deploy.plan", SITE.replace("v1", "old")),)),
    Example("HEALTH_CHECK_FAILED", (
        call("deploy.plan", SITE),
        told({"tool": "deploy.release", "arguments": {
            "root": "/srv/app/site", "release": "v1", "source": "/srv/app/build", "digest": "{digest}",
            "check_before": {"port": 1, "retries": 0},
        }}),
    )),
    Example("APPROVAL_EXPIRED", (
        call("files.delete", "--agent janitor --arg path=/srv/app/notes.txt"),
        "sleep 3; cmdop calls show {call} --json",
    ), policy="PEOPLE"),
    Example("NOT_APPROVER", (
        call("files.delete", "--agent janitor --arg path=/srv/app/other.txt"), "cmdop approvals approve {approval} --json",
    ), policy="PEOPLE"),
    Example("OWN_APPROVAL", (HELD_DIFF, "cmdop approvals approve {approval} --user janitor --json")),
    Example("CONFIRMATION_REQUIRED", (REMOVED, "cmdop approvals approve {approval} --user grace --json")),
    Example("CALL_MODIFIED", (
        HELD_DIFF.replace("held.txt", "modified.txt"),
        "cmdop approvals modify {approval} --arg path=/srv/app/modified.txt --arg content=less >/dev/null; "
        "cmdop calls show {call} --json",
    )),
    Example("COMMIT_CONFLICT", (
        run("sed -i s/b/c/ other.txt", "--agent janitor --expect file.modify:other.txt"),
        call("files.write", "--arg path=/srv/app/other.txt --arg content=theirs >/dev/null")
        + "; cmdop approvals approve {approval} >/dev/null; cmdop calls show {call} --json",
    )),
    Example("APPROVAL_VOID", (
        HELD_DIFF, "echo '// another policy' >> site.cedar; cmdop policy reload >/dev/null; cmdop calls show {call} --json",
    ), policy="SITE"),
    Example("EFFECT_NOT_PERMITTED", (run("./cleanup.sh", "--expect 'file.delete:logs/*.gz'"),), policy="NARROW"),
    Example("POLICY_ERROR", (call("files.delete", "--arg path=/srv/app/notes.txt"),), policy="BROKEN"),
    Example("SHADOW_ONLY", (HELD_DIFF,), policy="SHADOW"),
    Example("HOST_UNAVAILABLE", (call("files.read", "--arg path=/srv/app/notes.txt"),), policy="AWAY"),
    Example("STORAGE_FULL", (
        "dd if=/dev/zero of=small/filler bs=1M status=none; dd if=/dev/zero of=small/rest bs=4k status=none; "
        + call("files.read", "--arg path=/srv/app/notes.txt"),
    ), policy="SMALL"),
    Example("LEDGER_CORRUPT", (
        "printf x | dd of=workspace-data/server/log/00000000000000000001.log bs=1 seek=600 conv=notrunc status=none; "
        "cmdop policy diff workspace ci --over workspace-data --json",
    ), policy="ci"),
    Example("DENIED_BEFORE", (OF_A_RUN % (
        'reject = held.approval.approval_id, "--user", "grace"\n        '
        'await anyio.run_process(["cmdop", "approvals", "reject", *reject])\n        '
        'command = {"command": "rm notes.txt", "cwd": "/srv/app"}\n        '
        'expect = ["file.delete:/srv/app/notes.txt"]\n        '
        'call = await client.calls.propose("terminal.exec", "local", command, intent="an example", expect=expect)'
    ),)),
    Example("RUN_TERMINATED", (OF_A_RUN % (
        'terminate = held.approval.approval_id, "--user", "grace"\n        '
        'await anyio.run_process(["cmdop", "approvals", "terminate", *terminate])\n        '
        'await anyio.sleep(1)\n        '
        'call = await client.calls.get(held.call_id)'
    ),)),
    Example("SUPERSEDED", (OF_A_RUN % (
        'await client.runs.instruct("leave the notes", run_id=run.run_id)\n        '
        'await client.approvals.decided(held.approval.approval_id)\n        '
        'await anyio.sleep(1)\n        '
        'call = await client.calls.get(held.call_id)'
    ),)),
    Example("UNKNOWN_RUN", (UNKNOWN_RUN,)),
    Example("DEPLOY_LOCKED", (
        call("deploy.plan", SITE),
        "(" + RELEASE + " >/dev/null &); sleep 2; " + RELEASE.replace("an example", "another"),
    )),
    Example("UNREACHABLE", ("cmdop calls list --server 127.0.0.1:1 --json",)),
    Example("INVALID_CONFIGURATION", ("cmdop policy check none.cedar --json",)),
)  # fmt: skip

UNPROVOKED = {
    "DIRECT_UNAVAILABLE": "A host that cannot confine a command says so when it attaches, so nothing is sent to it to run so.",
    "DRAINING": "It takes a server that is stopping in that very moment.",
    "FRAME_TOO_LARGE": "The command line refuses what is too large before a server could.",
    "HOST_ERROR": "It takes a host that fails before its tool starts: a defect of the host, or of its machine.",
    "HOST_STORAGE_FULL": "It takes a host whose disk is full.",
    "INTERNAL": "It takes a defect of cmdop.",
    "LOAD_SHED": "It takes more open calls than a server accepts.",
    "OUTCOME_UNKNOWN": "It takes a host that dies while it acts.",
    "PERMIT_INVALID": "No server sends a permit that is not good.",
    "PREDICTION_FAILED": "It takes a server whose vocabulary cannot be asked.",
    "PREVIEW_LOST": "It takes a host that dies while it holds a preview.",
    "PREVIEW_UNAVAILABLE": "It takes a machine on which no private copy can be made.",
    "PROTOCOL_VIOLATION": "No client of ours breaks the protocol.",
    "RESULT_LOST": "It takes a host that dies while its tool runs, after the change and before it is recorded.",
    "SCHEMA_REJECTED": "The shipped tools have sound schemas, and a server takes no others.",
    "SLOW_CONSUMER": "It takes a client that does not read what it asked for.",
    "STORAGE_ERROR": "It takes a disk that fails.",
    "UNSUPPORTED_CHANGE": "It takes a change that the file system of the host cannot hold.",
    "UNSUPPORTED_PROTOCOL": "Client and server are of one version here.",
}
"""Why no command brings a reason about."""

LOOKS = '@id("looks") @reason("Looking changes nothing.")\npermit (principal, action in Action::"look", resource);\n'
OPEN = '@id("site.open") @reason("For the example.")\npermit (principal, action, resource);\n'
PEOPLE = (
    OPEN
    + '@id("site.notes") @decision("require_approval") @approvers("operators 1s") @reason("Operators look at it.")\n'
    'forbid (principal, action in Action::"write", resource in Path::"/srv/app/notes.txt");\n'
    '@id("site.app") @decision("require_approval") @approvals("2") @reason("Two people look at it.")\n'
    'forbid (principal, action in Action::"write", resource in Path::"/srv/app/other.txt");\n'
)
NARROW = (
    LOOKS + '@id("site.logs") @reason("Logs may go.")\n'
    'permit (principal, action in Action::"write", resource in Path::"/srv/app/logs");\n'
)
SITE = (
    OPEN + '@id("site.data") @reason("The data stays.")\n'
    'forbid (principal, action in Action::"write", resource in Path::"/srv/app/data");\n'
)
BROKEN = (
    OPEN + '@id("site.count") @reason("Few at a time.")\n'
    'forbid (principal, action in Action::"write", resource) when { context.effects + 9223372036854775807 > 0 };\n'
)


POLICIES = {"looks": LOOKS, "people": PEOPLE, "site": SITE, "narrow": NARROW, "broken": BROKEN}
PROFILES = {
    "LOOKS": "looks.cedar",
    "PEOPLE": "people.cedar",
    "SITE": "site.cedar",
    "NARROW": "narrow.cedar",
    "BROKEN": "broken.cedar",
}
"""Which file a server of examples decides by; what stands here not is a pack, or `workspace`."""


def main() -> None:
    """Writes the examples."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name, module in (("cmdop", "-m cmdop "), ("python", "")):
            (place / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
            (place / name).chmod(0o755)
        for name, text in POLICIES.items():
            (place / f"{name}.cedar").write_text(text)
        only = sys.argv[1:]
        for policy in dict.fromkeys(example.policy for example in PROVOKED):
            examples = [it for it in PROVOKED if it.policy == policy and (not only or it.reason in only)]
            found |= captured(policy, place, examples) if examples else {}
    found = (json.loads(EXAMPLES.read_text()) if only else {}) | found
    missing = [example.reason for example in PROVOKED if example.reason not in found]
    if missing:
        raise SystemExit(f"not brought about, so nothing is written: {', '.join(missing)}")
    written = {name: found[name] for name in sorted(found)}
    written |= {name: {"why_none": why} for name, why in UNPROVOKED.items()}
    EXAMPLES.write_text(
        json.dumps({name: written[name] for name in sorted(written)}, indent=1, ensure_ascii=False) + "\n"
    )


def captured(policy: str, place: Path, examples: list[Example]) -> dict[str, dict[str, Any]]:
    """The examples that are brought about under one policy, or on one kind of server."""
    fixture = furnished(place / f"{policy}-fixture")
    data = place / f"{policy}-data"
    with small_disk(place) if policy == "SMALL" else nullcontext(data) as data:
        data.mkdir(exist_ok=True)
        match policy:
            case "KNOWN":
                with changing(data) as known:
                    known.approvers["grace"] = Approver(token_sha256=digest_of(new_token("grace")))
            case "PEOPLE":
                (data / "entities.toml").write_text('[groups.users]\noperators = ["grace"]\n')
            case "SHADOW":
                (data / "autonomy.toml").write_text('default = "shadow"\n')
            case _:
                pass
        named = PROFILES.get(policy, policy if policy.islower() else "workspace")
        named = str(place / named) if named.endswith(".cedar") else named
        up = start_up(data, fixture, "--policy", named)
        if policy == "AWAY":
            up.stop()
            up = without_host(data, fixture)
        try:
            found = {example.reason: answered(example, up.address, place) for example in examples}
            return {reason: example for reason, example in found.items() if example}
        finally:
            up.stop()


def furnished(root: Path) -> Path:
    """A machine with what the examples are about."""
    fixture = make_fixture(root)
    app = fixture / "srv/app"
    for path in ("site/releases/old", "build"):
        (app / path).mkdir(parents=True)
    for path, text in {
        "notes.txt": "a\n",
        "other.txt": "b\n",
        "build/index": "new",
        "site/releases/old/index": "old",
    }.items():
        (app / path).write_text(text)
    (app / "link").symlink_to("notes.txt")
    (fixture / "etc").mkdir(exist_ok=True)
    (fixture / "etc/app.conf").write_text("x\n")
    return fixture


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A data directory on a file system of a few megabytes."""
    disk = place / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", disk], check=True)
    try:
        yield disk / "data"
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def without_host(data: Path, fixture: Path) -> Up:
    """A server whose host is away."""
    command = [sys.executable, "-m", "cmdop", "server", "--data", str(data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = first_line(process)
    return Up(process, line.split()[4], data, fixture, line)


def answered(example: Example, address: str, place: Path) -> dict[str, Any]:
    """One example with what its last command was answered."""
    environment = os.environ | {"CMDOP_ADDRESS": address, "CMDOP_USER": "ann", "PATH": f"{place}:{os.environ['PATH']}"}
    known, answer, shown = dict[str, str](), dict[str, Any](), list[str]()
    for command in example.typed:
        typed = command
        for name, value in known.items():
            typed = typed.replace(f"{{{name}}}", value)
        done = subprocess.run(
            ["bash", "-c", typed], capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=place
        )
        answer = json.loads(done.stdout or "{}")
        shown.append(steady(typed.replace(f"{place}/", "")))
        approval, result = answer.get("approval") or {}, answer.get("result") or {}
        known |= {"call": answer.get("call_id", ""), "approval": approval.get("approval_id", "")}
        known |= {"digest": result.get("digest", "")}
    error = answer.get("error") or answer
    if error.get("reason") != example.reason:
        print(f"{example.reason}: {shown[-1]}: {json.dumps(error)[:1500]} {done.stderr[:300]}", file=sys.stderr)
        return {}
    return {"typed": shown, "error": json.loads(steady(json.dumps(error).replace(f"{place}/", "")))}


def steady(text: str) -> str:
    """A text without what differs from one capture to the next."""
    text = re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", ID, text)
    text = re.sub(r"by process \d+", "by process 4242", text)
    return re.sub(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:7717", text)


if __name__ == "__main__":
    main()
