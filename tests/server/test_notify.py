"""Who is told of approvals, by signed webhook and by command, and what a receiver can rely on."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.live import make_fixture, start_up

from cmdop.errors import InvalidConfigurationError
from cmdop.server.notify import load_receivers, sign, verify

SECRET = b"0123456789abcdef0123456789abcdef"


class Hook:
    """A receiver of webhooks: what came, and what it answers next."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    def notices(self) -> list[dict[str, Any]]:
        """What came and is signed."""
        return [verify(SECRET, headers, body) for headers, body in self.came]


@contextmanager
def hooked() -> Generator[Hook]:
    """A receiver on a free port."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = hook.answers.pop(0) if hook.answers else 204
            hook.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_address[1]}/cmdop"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def until(holds: Any, deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.timeout(180)
def test_a_webhook_and_a_command_hear_of_a_question_and_of_its_answer(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    told = tmp_path / "told.jsonl"
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    (data / "notify.secret").write_bytes(SECRET + b"\n")
    with hooked() as hook:
        hook.answers = [503]
        (data / "notify.toml").write_text(
            f'[[webhooks]]\nurl = "{hook.url}"\nsecret_file = "notify.secret"\n'
            f"[[commands]]\nargv = {json.dumps([sys.executable, '-c', script, str(told)])}\n"
        )
        up = start_up(data, make_fixture(tmp_path / "fixture"))
        try:
            _, held = up.call(
                "call", "terminal.exec", "--host", "local", "--agent", "janitor", "--intent", "make room",
                "--arg", "command=rm -f logs/app.log", "--arg", "cwd=/srv/app",
                "--expect", "file.delete:/srv/app/logs/app.log",
            )  # fmt: skip
            # It was not taken at first, and came again under the same id.
            until(lambda: len(hook.came) >= 2)
            up.call("approvals", "reject", held["approval_id"], "--comment", "no")
            until(lambda: hook.notices()[-1]["approval"]["status"] == "rejected")
            until(lambda: told.exists() and len(told.read_text().splitlines()) == 2)
        finally:
            up.stop()
    notices = hook.notices()
    assert [notice["approval"]["status"] for notice in notices] == ["pending", "pending", "rejected"]
    assert notices[0] == notices[1]
    assert hook.came[0][0]["webhook-id"] == hook.came[1][0]["webhook-id"] != hook.came[2][0]["webhook-id"]
    approval = notices[0]["approval"]
    assert (approval["approval_id"], approval["intent"]) == (held["approval_id"], "make room")
    assert "arguments" not in approval and "diff" not in approval
    assert [json.loads(line)["id"] for line in told.read_text().splitlines()] == [notices[0]["id"], notices[2]["id"]]


def test_what_is_not_signed_now_with_the_secret_is_refused() -> None:
    body = b'{"type": "approval"}'
    signed = {"webhook-id": "a.0", "webhook-timestamp": "1000", "webhook-signature": sign(SECRET, "a.0", "1000", body)}
    assert verify(SECRET, signed, body, now=1010) == {"type": "approval"}
    both = signed | {"webhook-signature": "v1,AAAA " + signed["webhook-signature"]}
    assert verify(SECRET, both, body, now=1010), "a receiver may be sent signatures of two secrets"
    for headers, content, now in (
        (signed, body + b" ", 1010),
        (signed | {"webhook-id": "b.0"}, body, 1010),
        (signed | {"webhook-timestamp": "1001"}, body, 1010),
        (signed | {"webhook-timestamp": "soon"}, body, 1010),
        (signed | {"webhook-signature": ""}, body, 1010),
        (signed, body, 1301),
        (signed, body, 699),
        ({}, body, 1010),
    ):
        with pytest.raises(ValueError, match="the webhook"):
            verify(SECRET, headers, content, now=now)
    with pytest.raises(ValueError, match="this secret"):
        verify(SECRET[::-1], signed, body, now=1010)


def test_the_documented_receiver_takes_what_is_signed() -> None:
    page = (Path(__file__).parents[2] / "docs/design/approvals.md").read_text()
    example = page[page.index("    import base64") : page.index("Five attempts")]
    told: dict[str, Any] = {}
    exec(textwrap.dedent(example), told)
    body, now = b'{"type": "approval"}', str(int(time.time()))
    signed = {"webhook-id": "a.0", "webhook-timestamp": now, "webhook-signature": sign(SECRET, "a.0", now, body)}
    assert told["is_genuine"](SECRET, signed, body)
    assert not told["is_genuine"](SECRET, signed, body + b" ")
    assert not told["is_genuine"](SECRET, signed | {"webhook-timestamp": "1000"}, body)


@pytest.mark.parametrize(
    ("text", "secret", "wrong"),
    [
        ("[[webhooks]\n", SECRET, "mend the TOML"),
        ('[[webhooks]]\nurl = "http://example.com/x"\nsecret_file = "s"\n', SECRET, "https://"),
        ('[[webhooks]]\nurl = "https://example.com/x"\n', SECRET, "secret_file"),
        ('[[webhooks]]\nurl = "https://example.com/x"\nsecret_file = "s"\n', b"short", "5 bytes"),
        ('[[webhooks]]\nurl = "https://example.com/x"\nsecret_file = "t"\n', SECRET, "cannot be read"),
        ("[[commands]]\nargv = []\n", SECRET, "argv"),
        ('[[commands]]\nargv = ["true"]\nshell = true\n', SECRET, "shell"),
    ],
)
def test_a_broken_file_stops_the_start(tmp_path: Path, text: str, secret: bytes, wrong: str) -> None:
    (tmp_path / "notify.toml").write_text(text)
    (tmp_path / "s").write_bytes(secret)
    with pytest.raises(InvalidConfigurationError) as caught:
        load_receivers(tmp_path)
    assert wrong in caught.value.message + str(caught.value.proto.remedy)
