"""Tells people of approvals: by signed webhook and by command, from what a data directory says.

::

    DATA/notify.toml    [[webhooks]]
                        url = "https://hooks.example.com/cmdop"
                        secret_file = "notify.secret"

                        [[commands]]
                        argv = ["/usr/local/bin/page"]

Whoever is told of a question looks at it with `cmdop approvals show`: a notice holds no arguments and no content of
files. A webhook is signed as Standard Webhooks say (https://www.standardwebhooks.com): `webhook-signature` is `v1,`
and the base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`. `verify` is the other end.

The notifier watches from outside, like any client: no receiver, however slow or broken, holds up an answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import math
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cmdop import v1
from cmdop.client import Client
from cmdop.document import approval_document
from cmdop.errors import CmdopError, InvalidConfigurationError

ATTEMPTS: Final = 5
"""Times that a notice is sent before it is given up, which is logged."""
FIRST_PAUSE_S: Final = 1.0
"""Before the second attempt; each pause after it is twice as long."""
TIMEOUT_S: Final = 10.0
"""How long one attempt may take."""
TOLERANCE_S: Final = 300.0
"""How old a webhook may be, by the clock of who verifies it."""
MOST_WAITING: Final = 1_000
"""Notices that may wait for one receiver; more are left out, and that is logged."""
MOST_KNOWN: Final = 10_000
"""Notices that are remembered as sent in this life of the server."""
SECRET_BYTES: Final = 24
"""The shortest secret that is taken."""

_TOLD: Final = (
    "approval_id", "call_id", "subject", "status", "digest", "tool", "host", "intent", "requester", "why",
    "irreversible", "confirm", "quorums", "missing", "decision", "void_cause", "created_at", "expires_at",
)  # fmt: skip
_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WebhookSettings(_Strict):
    """Where notices are posted, and the file of the secret that signs them."""

    url: Annotated[str, StringConstraints(pattern=r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]).+")]
    secret_file: Path


class CommandSettings(_Strict):
    """What is started for each notice, without a shell; the notice is its standard input."""

    argv: Annotated[list[str], Field(min_length=1)]


class NotifySettings(_Strict):
    """The content of ``notify.toml``."""

    webhooks: list[WebhookSettings] = Field(default_factory=list[WebhookSettings])
    commands: list[CommandSettings] = Field(default_factory=list[CommandSettings])


class Receiver(Protocol):
    """Somebody who is told."""

    name: str

    async def send(self, id: str, body: bytes) -> None:
        """Delivers a notice. Raises `Undelivered` if it was not taken."""
        ...


class Undelivered(Exception):
    """A notice was not taken, and why."""


def load_receivers(data: Path) -> list[Receiver]:
    """Who is told, as DATA/notify.toml says; nobody if there is no such file.

    Raises:
        InvalidConfigurationError: The file or a secret cannot be read or understood; the message names it.
    """
    path = data / "notify.toml"
    try:
        settings = NotifySettings.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigurationError(f"{path}: {error}; mend the TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidConfigurationError.fix(
            f"{path}: {where}: {first['msg']}",
            "webhooks with an https:// (or loopback http://) url and a secret_file, and commands with an argv",
        ) from error
    webhooks = [Webhook(one.url, _secret(data / one.secret_file)) for one in settings.webhooks]
    return [*webhooks, *(Command(one.argv) for one in settings.commands)]


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"the secret {path} cannot be read: {error.strerror}", "a file with the secret that signs webhooks"
        ) from None
    if len(secret) < SECRET_BYTES:
        raise InvalidConfigurationError.fix(
            f"the secret {path} has {len(secret)} bytes", f"at least {SECRET_BYTES} random bytes, such as 48 hex digits"
        )
    return secret


class Webhook:
    """Posts notices to a URL, signed. Redirects are not followed and no proxy of the environment is used."""

    def __init__(self, url: str, secret: bytes) -> None:
        self.name: str = url
        self._secret = secret

    async def send(self, id: str, body: bytes) -> None:
        """Posts it. Anything but 2xx is a failure."""
        timestamp = str(math.floor(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(self._secret, id, timestamp, body),
        }
        request = urllib.request.Request(self.name, data=body, headers=headers, method="POST")
        await anyio.to_thread.run_sync(partial(_post, request), abandon_on_cancel=True)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """What was signed for one place is not sent to another: the redirect is an error."""


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def _post(request: urllib.request.Request) -> None:
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise Undelivered(f"it answered {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Undelivered(f"{type(error).__name__}: {error}") from None


class Command:
    """Starts a program for each notice, which is its standard input. Its output goes nowhere."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.name: str = argv[0]
        self._argv = [*argv]

    async def send(self, id: str, body: bytes) -> None:
        """Runs it. A status other than 0 is a failure."""
        try:
            with anyio.fail_after(TIMEOUT_S):
                done = await anyio.run_process(
                    self._argv, input=body, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
                )
        except TimeoutError:
            raise Undelivered(f"it did not end within {TIMEOUT_S:g} s") from None
        except OSError as error:
            raise Undelivered(f"it cannot be started: {error.strerror}") from None
        if done.returncode != 0:
            raise Undelivered(f"it ended with status {done.returncode}")


def sign(secret: bytes, id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = b".".join((id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> dict[str, Any]:
    """The notice of a webhook that came, if the holder of the secret signed it within five minutes.

    A notice may come more than once, under the same `webhook-id`.

    Args:
        secret: What the server's `secret_file` holds, without white space around it.
        headers: Of the request, in lower case.
        body: Of the request, to the byte.
        now: Seconds since the Unix epoch; by default the clock's.

    Raises:
        ValueError: It is not signed with this secret, or too old or too new.
    """
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit():
        raise ValueError("the webhook has no time")
    expected = sign(secret, id, timestamp, body).encode()
    given = [one.encode() for one in headers.get("webhook-signature", "").split(" ")]
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise ValueError("the webhook is not signed with this secret")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE_S:
        raise ValueError("the webhook is too old, or a clock is wrong")
    notice: dict[str, Any] = json.loads(body)
    return notice


def notice_of(approval: v1.Approval) -> tuple[str, bytes]:
    """The id of what there is to tell about an approval as it is now, and its JSON."""
    document = approval_document(approval)
    id = f"{approval.approval_id}.{len(approval.answers)}.{document['status']}"
    told = {"type": "approval", "id": id, "approval": {name: document[name] for name in _TOLD}}
    return id, json.dumps(told, ensure_ascii=False).encode(errors="replace")


@asynccontextmanager
async def notifying(address: str, receivers: Sequence[Receiver]) -> AsyncGenerator[None, None]:
    """Tells receivers of every question that waits and of every change of one, while the block runs."""
    if not receivers:
        yield
        return
    async with anyio.create_task_group() as tasks:
        queues: list[MemoryObjectSendStream[tuple[str, bytes]]] = []
        for receiver in receivers:
            queue, waiting = anyio.create_memory_object_stream[tuple[str, bytes]](MOST_WAITING)
            queues.append(queue)
            tasks.start_soon(_deliver, receiver, waiting)
        tasks.start_soon(_watch, address, receivers, queues)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


async def _watch(
    address: str, receivers: Sequence[Receiver], queues: Sequence[MemoryObjectSendStream[tuple[str, bytes]]]
) -> None:
    """Puts each notice in every line, once in this life of the server."""
    known: OrderedDict[str, None] = OrderedDict()
    while True:
        try:
            async with Client(address, user="cmdop") as client, client.approvals.watch() as approvals:
                async for approval in approvals:
                    id, body = notice_of(approval)
                    if id in known:
                        continue
                    known[id] = None
                    if len(known) > MOST_KNOWN:
                        known.popitem(last=False)
                    for receiver, queue in zip(receivers, queues, strict=True):
                        _put(receiver, queue, id, body)
        except CmdopError as error:
            _log.warning("approvals cannot be followed, so nobody is told of them; trying again: %s", error.message)
        await anyio.sleep(FIRST_PAUSE_S)


def _put(receiver: Receiver, queue: MemoryObjectSendStream[tuple[str, bytes]], id: str, body: bytes) -> None:
    try:
        queue.send_nowait((id, body))
    except anyio.WouldBlock:
        _log.warning("%s is too slow and is not told of %s", receiver.name, id)


async def _deliver(receiver: Receiver, waiting: MemoryObjectReceiveStream[tuple[str, bytes]]) -> None:
    """Delivers one after another. What is not taken after some attempts is logged and given up."""
    async for id, body in waiting:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await receiver.send(id, body)
                break
            except Undelivered as failed:
                if attempt == ATTEMPTS:
                    _log.warning("%s was not told of %s in %d attempts: %s", receiver.name, id, attempt, failed)
                    break
            await anyio.sleep(pause_s)
            pause_s *= 2
