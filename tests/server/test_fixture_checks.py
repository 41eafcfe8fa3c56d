"""Health checks on a fixture: they ask its own services, whichever tool asks, and never what the machine runs."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

import cmdop
from cmdop import v1
from cmdop.client import Check, result_of
from cmdop.errors import HealthCheckFailedError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ROOT = "/srv/app/web"

WEB = """\
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


class Healthy(http.server.BaseHTTPRequestHandler):
    """A program of the machine's, which finds everything well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def machine_port() -> Iterator[int]:
    """Port of the machine's loopback on which that program listens."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def serving(tmp_path: Path, machine_port: int) -> Iterator[Up]:
    """A service that serves the live release, on the very port of the machine's program."""
    fixture = make_fixture(tmp_path / "fixture")
    app = fixture / "srv/app"
    (app / "web").mkdir()
    for version in ("v1", "v2", "broken"):
        (app / "build" / version).mkdir(parents=True)
        (app / "build" / version / ("health" if version != "broken" else "ill")).write_text(version)
    (app / "web.py").write_text(WEB)
    units = fixture / "etc/cmdop/services"
    units.mkdir(parents=True)
    command = [os.path.realpath(sys.executable), "/srv/app/web.py", str(machine_port)]
    unit = {"command": command, "cwd": f"{ROOT}/current", "port": machine_port}
    (units / "web.json").write_text(json.dumps(unit))
    running = start_up(tmp_path / "data", fixture)
    yield running
    assert running.stop() == 0


@pytest.fixture
async def client(serving: Up) -> AsyncIterator[cmdop.Client]:
    """Acts as a person; whatever is held is approved."""

    async def approve() -> None:
        while True:
            for found in await connected.approvals.list():
                if found.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING:
                    await connected.approvals.approve(found)
            await anyio.sleep(0.05)

    async with cmdop.Client(serving.address, user="ops") as connected, anyio.create_task_group() as tasks:
        tasks.start_soon(approve)
        yield connected
        tasks.cancel_scope.cancel()


async def test_what_deploys_asks_the_service_that_it_restarts(client: cmdop.Client, machine_port: int) -> None:
    host = client.host("local")
    check = Check(machine_port, "/health", retries=1, interval_ms=50)
    # Nothing serves yet, and who answers on the machine is nobody of this fixture.
    with pytest.raises(HealthCheckFailedError):
        await host.deploy.roll_out(ROOT, "early", "/srv/app/build/v1", check=check)
    await host.deploy.roll_out(ROOT, "r1", "/srv/app/build/v1")
    assert not await is_healthy(client, check)
    assert (await host.services.start("web", wait=True)).outcome == v1.Outcome.OUTCOME_APPLIED
    assert await is_healthy(client, check)

    good = await host.deploy.roll_out(ROOT, "r2", "/srv/app/build/v2", service="web", check=check)
    assert (good.release["live"], await live(client)) == ("r2", "r2")
    with pytest.raises(HealthCheckFailedError, match="status 404") as failed:
        await host.deploy.roll_out(ROOT, "r3", "/srv/app/build/broken", service="web", check=check)
    assert failed.value.__notes__ == ["rolled back: r2 is live"]
    assert (await live(client), await is_healthy(client, check)) == ("r2", True)
    back = result_of(await host.deploy.rollback(ROOT, release="r1", check_after=check, wait=True))
    assert (back["live"], back["check_after"]["status"]) == ("r1", 200)

    # Dead, whatever the machine says on the same port.
    assert (await host.services.stop("web", wait=True)).outcome == v1.Outcome.OUTCOME_APPLIED
    assert not await is_healthy(client, check)
    with pytest.raises(HealthCheckFailedError):
        result_of(await host.deploy.rollback(ROOT, release="r2", check_after=check, wait=True))


async def live(client: cmdop.Client) -> str:
    return result_of(await client.host("local").deploy.status(ROOT))["live"]


async def is_healthy(client: cmdop.Client, check: Check) -> bool:
    return result_of(await client.host("local").deploy.status(ROOT, check=check))["check"]["healthy"]
