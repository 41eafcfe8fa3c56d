"""Brings about the reasons of the table on real servers, and keeps what was answered for their pages.

`python tools/error_examples.py` writes `docs/errors/examples.json`; it takes a minute and must be root, as whoever
starts a host on a fixture. A reason that no command brings about has none.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs/errors/examples.json"
sys.path.insert(0, str(ROOT))

from tests.live import make_fixture, start_up  # noqa: E402

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
SITE = "--arg root=/srv/app/site --arg release=v1 --arg source=/srv/app/build"

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
    Example("UNREACHABLE", ("cmdop calls list --server 127.0.0.1:1 --json",)),
    Example("INVALID_CONFIGURATION", ("cmdop policy check none.cedar --json",)),
)  # fmt: skip

LOOKS = '@id("looks") @reason("Looking changes nothing.")\npermit (principal, action in Action::"look", resource);\n'


def main() -> None:
    """Writes the examples."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "cmdop").write_text(f'#!/bin/sh\nexec {sys.executable} -m cmdop "$@"\n')
        (place / "cmdop").chmod(0o755)
        (place / "looks.cedar").write_text(LOOKS)
        for policy in dict.fromkeys(example.policy for example in PROVOKED):
            found |= captured(policy, place, [it for it in PROVOKED if it.policy == policy])
    ordered = {name: found[name] for name in sorted(found)}
    EXAMPLES.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def captured(policy: str, place: Path, examples: list[Example]) -> dict[str, dict[str, Any]]:
    """The examples that are brought about under one policy."""
    fixture = make_fixture(place / f"{policy}-fixture")
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
    named = {"LOOKS": str(place / "looks.cedar"), "KNOWN": "workspace"}.get(policy, policy)
    data = place / f"{policy}-data"
    if policy == "KNOWN":
        with changing(data) as known:
            known.approvers["grace"] = Approver(token_sha256=digest_of(new_token("grace")))
    up = start_up(data, fixture, "--policy", named)
    try:
        return {example.reason: answered(example, up.address, place) for example in examples}
    finally:
        up.stop()


def answered(example: Example, address: str, place: Path) -> dict[str, Any]:
    """One example with what its last command was answered."""
    environment = os.environ | {"CMDOP_ADDRESS": address, "CMDOP_USER": "ann", "PATH": f"{place}:{os.environ['PATH']}"}
    known, answer, shown = dict[str, str](), dict[str, Any](), list[str]()
    for command in example.typed:
        typed = command
        for name, value in known.items():
            typed = typed.replace(f"{{{name}}}", value)
        done = subprocess.run(
            ["bash", "-c", typed], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        answer = json.loads(done.stdout or "{}")
        shown.append(steady(typed))
        approval, result = answer.get("approval") or {}, answer.get("result") or {}
        known |= {"call": answer.get("call_id", ""), "approval": approval.get("approval_id", "")}
        known |= {"digest": result.get("digest", "")}
    error = answer.get("error") or answer
    if error.get("reason") != example.reason:
        raise SystemExit(f"{example.reason}: {shown[-1]}: {json.dumps(answer)[:2000]} {done.stderr[:300]}")
    return {"typed": shown, "error": json.loads(steady(json.dumps(error)))}


def steady(text: str) -> str:
    """A text without what differs from one capture to the next."""
    text = re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", ID, text)
    return re.sub(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:7717", text)


if __name__ == "__main__":
    main()
