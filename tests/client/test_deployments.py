"""A small HTTP service is deployed, broken and brought back, through a real server and a real host on a fixture."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

import cmdop
from cmdop import v1
from cmdop.client import Check, Deployments, Hook, result_of
from cmdop.errors import (
    ApprovalRequiredError,
    CommandFailedError,
    ContentChangedError,
    DeployLockedError,
    HealthCheckFailedError,
    HostUnavailableError,
    PolicyDeniedError,
    RefusedError,
    ReleaseConflictError,
    ResultLostError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ROOT = "/srv/app/web"
APPLIED, NOT_APPLIED = v1.Outcome.OUTCOME_APPLIED, v1.Outcome.OUTCOME_NOT_APPLIED
FILES = 400
"""Of a release that is large enough to be killed in the middle."""


@dataclass
class Site:
    """A host with a deployment root, three versions of a service, and the service itself."""

    up: Up
    port: int

    def get(self, path: str) -> tuple[int, str]:
        """What the service answers, from whichever release is live now."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    @property
    def check(self) -> Check:
        return Check(self.port, "/health", retries=2, interval_ms=50)

    def link(self) -> str | None:
        """Text of the link, read on the machine and not through the host."""
        try:
            return os.readlink(self.up.fixture / ROOT.lstrip("/") / "current")
        except FileNotFoundError:
            return None


def make_versions(fixture: Path) -> Path:
    """`v1` and `v2` are healthy, `broken` has lost what its health check asks for."""
    (fixture / "srv/app/web").mkdir(parents=True)
    for version in ("v1", "v2", "broken"):
        build = fixture / "srv/app/build" / version
        build.mkdir(parents=True)
        (build / "index.html").write_text(version)
        if version != "broken":
            (build / "health").write_text("ok")
    for number in range(FILES):
        (fixture / "srv/app/build/v2" / f"asset-{number}").write_text(f"{number}" * 50)
    return fixture


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def host_of(up: Up) -> int:
    """The process of the host, which alone sees the fixture. One that died is started again after a pause."""
    for _ in range(600):
        for child in children(up.process.pid):
            try:
                is_host = b"cmdop.host" in Path(f"/proc/{child}/cmdline").read_bytes()
                is_inside = os.readlink(f"/proc/{child}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
            except OSError:
                continue
            if is_host and is_inside:
                return child
        time.sleep(0.05)
    raise AssertionError("no host process")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The service runs on the machine and serves what the host made live, looking the link up at every request."""
    up = start_up(tmp_path / "data", make_versions(make_fixture(tmp_path / "fixture")))
    port = free_port()
    served = f"/proc/{host_of(up)}/root{ROOT}/current"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", served]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Site(up, port)
    finally:
        service.kill()
        service.wait()
        up.stop()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[cmdop.Client]:
    async with cmdop.Client(site.up.address, user="ana") as client:
        yield client


async def released(client: cmdop.Client, release: str, source: str | None = None, **given: Any) -> v1.Call:
    """Plans and releases."""
    deploy = client.host("local").deploy
    source = f"/srv/app/build/{source or release}"
    plan = result_of(await deploy.plan(ROOT, release, source))
    return await deploy.release(ROOT, release, source, plan["digest"], **given)


async def test_a_service_is_deployed_broken_and_rolled_back(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    first = await released(client, "v1", check_after=site.check)
    assert first.outcome == APPLIED and first.score.clean, first
    assert result_of(first)["outcome"] == "released"
    assert site.get("/") == (200, "v1")
    again = await released(client, "v1", check_after=site.check)
    assert result_of(again)["outcome"] == "unchanged" and result_of(again)["check_after"]["healthy"]
    assert [effect.kind for effect in again.observation.effects] == [v1.EffectKind.EFFECT_KIND_NET_CONNECT]

    second = await released(client, "v2", check_before=site.check, check_after=site.check)
    assert result_of(second)["previous"] == "v1"
    assert (second.score.clean, site.get("/")) == (True, (200, "v2"))

    broken = await released(client, "broken", check_after=site.check)
    with pytest.raises(HealthCheckFailedError, match="rolled back and release v2 is live"):
        result_of(broken)
    # It says what is on the machine: the release is there, and both switches happened.
    assert broken.outcome == APPLIED
    kinds = {effect.kind for effect in broken.observation.effects}
    assert {v1.EffectKind.EFFECT_KIND_DEPLOY_RELEASE, v1.EffectKind.EFFECT_KIND_DEPLOY_ROLLBACK} <= kinds
    assert (site.get("/"), site.link()) == ((200, "v2"), "releases/v2")

    back = await deploy.rollback(ROOT, check_after=site.check)
    assert result_of(back) | {"check_after": None} == {
        "outcome": "rolled_back",
        "live": "v1",
        "from": "v2",
        "check_after": None,
    }
    assert site.get("/") == (200, "v1")
    status = result_of(await deploy.status(ROOT, check=site.check))
    assert (status["live"], status["check"]["healthy"], status["interrupted"]) == ("v1", True, None)
    assert [event["what"] for event in status["history"]] == ["released", "released", "failed", "rolled_back"]


async def test_a_plan_declares_all_that_a_release_does(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    plan = result_of(await deploy.plan(ROOT, "v1", "/srv/app/build/v1", keep=2, check_after=site.check))
    expect = [f"{it['effect']}:{it['target']}" for it in plan["declares"] if not it["effect"].endswith(".read")]
    assert f"deploy.release:{ROOT}" in expect and f"net.connect:127.0.0.1:{site.port}" in expect
    assert (plan["standing"], plan["live"], site.link()) == ("new", None, None)
    arguments = {"root": ROOT, "release": "v1", "source": "/srv/app/build/v1", "digest": plan["digest"], "keep": 2}
    arguments |= {"check_after": site.check.arguments()}
    declared = [
        v1.ExpectedEffect(kind=kind, target=it["target"], min_count=it["min_count"])
        for it in plan["declares"]
        if (kind := _kind(it["effect"])) != v1.EffectKind.EFFECT_KIND_FILE_READ
    ]
    call = await client.calls.propose("deploy.release", "local", arguments, intent="as planned", expect=declared)
    assert call.outcome == APPLIED and call.score.clean, call
    assert not call.side_effects
    listed = [(it["effect"], it["target"]) for it in plan["changes"]]
    assert sorted(target for _, target in listed) == sorted(effect.target for effect in call.observation.effects)


def _kind(name: str) -> v1.EffectKind:
    return v1.EffectKind.Value("EFFECT_KIND_" + name.upper().replace(".", "_"))


async def test_what_is_not_as_planned_is_a_typed_error(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    result_of(await released(client, "v1"))
    with pytest.raises(ReleaseConflictError):
        result_of(await deploy.release(ROOT, "v1", "/srv/app/build/v2", "0" * 64))
    with pytest.raises(ContentChangedError):
        result_of(await deploy.release(ROOT, "v2", "/srv/app/build/v2", "0" * 64))
    assert site.link() == "releases/v1"


async def test_of_two_deployments_at_once_one_is_told_who_has_the_lock(client: cmdop.Client, site: Site) -> None:
    result_of(await released(client, "v1"))
    # Nobody answers there, so the first one holds the lock until its attempts are over.
    waiting = Check(free_port(), retries=30, interval_ms=100)
    calls: list[v1.Call] = []

    async def slow() -> None:
        calls.append(await released(client, "v2", check_after=waiting))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow)
        with anyio.fail_after(30):
            await until(lambda: site.link() == "releases/v2")
        refused = await released(client, "other", source="v1")
        status = result_of(await client.host("local").deploy.status(ROOT))
    with pytest.raises(DeployLockedError, match="release v2"):
        result_of(refused)
    assert refused.outcome == NOT_APPLIED and "release v2" in status["held_by"]
    with pytest.raises(HealthCheckFailedError):
        result_of(calls[0])
    assert site.link() == "releases/v1"


async def test_an_agent_s_deployment_is_shown_whole_and_waits_for_a_person(client: cmdop.Client, site: Site) -> None:
    async with cmdop.Client(site.up.address, user="ana", agent="shipper") as agent:
        held = await released(agent, "v1", check_after=site.check)
        approval = await client.approvals.get(held.approval.approval_id)
        targets = {effect.target for effect in approval.diff.effects}
        assert {ROOT, f"{ROOT}/current", f"{ROOT}/releases/v1/index.html"} <= targets
        assert site.link() is None
        await client.approvals.approve(approval)
        with anyio.fail_after(30):
            settled = await client.calls.settled(held.call_id)
        assert settled.outcome == APPLIED and site.get("/") == (200, "v1"), settled
        plan = result_of(await agent.host("local").deploy.plan("/opt", "v1", "/srv/app/build/v1"))
        outside = await agent.host("local").deploy.release("/opt", "v1", "/srv/app/build/v1", plan["digest"])
        with pytest.raises(PolicyDeniedError):
            result_of(outside)


async def test_a_roll_out_goes_back_when_what_follows_the_switch_fails(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    write = Hook("echo built > stamp", expect=("file.create:/srv/app/build/v1/stamp",))
    rollout = await deploy.roll_out(ROOT, "v1", "/srv/app/build/v1", before=[write], check=site.check)
    assert rollout.release["outcome"] == "released"
    assert site.get("/stamp") == (200, "built\n"), "the plan was made after the hooks"
    good = await deploy.roll_out(ROOT, "v2", "/srv/app/build/v2", after=[Hook("test -e health")], check=site.check)
    assert [call.proposal.action.tool for call in good.calls] == [
        "deploy.plan",
        "deploy.release",
        "terminal.exec",
        "deploy.status",
    ]
    with pytest.raises(CommandFailedError) as failed:
        await deploy.roll_out(ROOT, "v3", "/srv/app/build/v1", after=[Hook("test -e not-there")], check=site.check)
    assert failed.value.__notes__ == ["rolled back: v2 is live"]
    with pytest.raises(HealthCheckFailedError) as failed:
        await deploy.roll_out(ROOT, "v4", "/srv/app/build/broken", after=[Hook("true")], check=site.check)
    assert failed.value.__notes__ == ["rolled back: v2 is live"]
    # What was live before, too, is not thrown out by whoever asks for it once more.
    with pytest.raises(CommandFailedError) as failed:
        await deploy.roll_out(ROOT, "v2", "/srv/app/build/v2", after=[Hook("false")])
    assert failed.value.__notes__ == ["v2 was live before, too, and stays live; before it was v1"]
    # A restart waits for a person; whoever does not wait for one has not restarted anything.
    with pytest.raises(ApprovalRequiredError) as held:
        await deploy.roll_out(ROOT, "v6", "/srv/app/build/v1", service="web", wait=False)
    assert held.value.__notes__[0].startswith("rolled back: v2 is live, but service web could not be restarted")
    with pytest.raises(CommandFailedError):
        await deploy.roll_out(ROOT, "v5", "/srv/app/build/v1", before=[Hook("false")])
    assert site.link() == "releases/v2"
    assert not (site.up.fixture / ROOT.lstrip("/") / "releases/v5").exists()


async def test_a_roll_out_whose_host_dies_behind_the_switch_goes_back(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    result_of(await released(client, "v1"))
    # Nobody answers there, so the host is between switch and check when it dies.
    waiting = Check(free_port(), retries=30, timeout_ms=500, interval_ms=500)

    async def rolled_out() -> None:
        with pytest.raises(ResultLostError) as lost:
            await deploy.roll_out(ROOT, "v2", "/srv/app/build/v2", check=waiting)
        assert lost.value.__notes__ == ["rolled back: v1 is live"]

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rolled_out)
            await until(lambda: site.link() == "releases/v2")
            os.kill(host_of(site.up), signal.SIGKILL)
    assert site.link() == "releases/v1"


async def test_a_roll_out_whose_host_dies_on_the_way_back_says_what_is_live(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    result_of(await released(client, "v1"))
    host = host_of(site.up)

    def kill_behind_the_way_back() -> None:
        for live in ("releases/v2", "releases/v1"):
            while site.link() != live:
                pass
        os.kill(host, signal.SIGKILL)

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, kill_behind_the_way_back)
            with pytest.raises(CommandFailedError) as failed:
                await deploy.roll_out(ROOT, "v2", "/srv/app/build/v2", after=[Hook("false")])
    assert failed.value.__notes__ == ["rolled back: v1 is live"]
    assert site.link() == "releases/v1"


async def test_a_roll_out_that_fails_leaves_what_somebody_else_made_live(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    result_of(await released(client, "v1"))
    # A contact waits for a person, so that it is known when the hook fails.
    hook = Hook("true", expect=(f"net.connect:127.0.0.1:{site.port}",))

    async def overtaken() -> None:
        with pytest.raises(RefusedError) as failed:
            await deploy.roll_out(ROOT, "a", "/srv/app/build/v2", after=[hook])
        (note,) = failed.value.__notes__
        assert note.startswith("nothing was rolled back") and "release b is live, and not a" in note, note

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overtaken)
            held = await first_pending(client)
            assert site.link() == "releases/a"
            rollout = await deploy.roll_out(ROOT, "b", "/srv/app/build/v1", check=site.check)
            assert rollout.release["outcome"] == "released"
            await client.approvals.reject(held)
    assert site.link() == "releases/b"
    assert result_of(await deploy.status(ROOT))["previous"] == "a"


async def test_a_roll_out_that_goes_back_leaves_nothing_to_be_approved(client: cmdop.Client, site: Site) -> None:
    deploy = client.host("local").deploy
    result_of(await released(client, "v1"))
    hook = Hook("touch migrated", expect=(f"net.connect:127.0.0.1:{site.port}", "file.create:/srv/app/**"))
    with pytest.raises(ApprovalRequiredError) as held:
        await deploy.roll_out(ROOT, "v2", "/srv/app/build/v2", after=[hook], wait=False)
    back, cancelled = held.value.__notes__
    assert back == "rolled back: v1 is live"
    assert cancelled.startswith("terminal.exec of call ") and cancelled.endswith(" is cancelled")
    assert await pending(client) == []
    assert (await client.calls.get(held.value.call_id)).outcome == NOT_APPLIED
    # A release that waits is still there to be approved, and whoever asked for more is told.
    async with cmdop.Client(site.up.address, user="ana", agent="shipper") as agent:
        with pytest.raises(ApprovalRequiredError) as held:
            await agent.host("local").deploy.roll_out(
                ROOT, "v3", "/srv/app/build/v1", after=[Hook("true")], check=site.check, wait=False
            )
    (waits,) = held.value.__notes__
    assert waits.startswith("deploy.release of call ") and "still waits for a person" in waits
    assert [it.call_id for it in await pending(client)] == [held.value.call_id]


async def pending(client: cmdop.Client) -> list[v1.Approval]:
    found = await client.approvals.list()
    return [it for it in found if it.status == v1.ApprovalStatus.APPROVAL_STATUS_PENDING]


async def first_pending(client: cmdop.Client) -> v1.Approval:
    while not (found := await pending(client)):  # noqa: ASYNC110, approvals are listed and not announced
        await anyio.sleep(0.02)
    return found[0]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110, the file system tells nobody
        await anyio.sleep(0.02)


async def release_into(calls: list[v1.Call], deploy: Deployments, release: str, digest: str) -> None:
    calls.append(await deploy.release(ROOT, release, "/srv/app/build/v2", digest, wait=True))


async def answered(deploy: Deployments) -> v1.Call:
    """The status, once the host is attached again."""
    with anyio.fail_after(60):
        while True:
            try:
                return await deploy.status(ROOT)
            except HostUnavailableError:
                await anyio.sleep(0.1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_host_killed_while_it_deploys_leaves_one_release_or_the_other(
    client: cmdop.Client, site: Site, anyio_backend: str
) -> None:
    result_of(await released(client, "start", source="v1"))
    outcomes: set[v1.Outcome] = set()
    live, deploy = "start", client.host("local").deploy
    random.seed(9)
    for number in range(6):
        release, host = f"r{number}", host_of(site.up)
        plan = result_of(await deploy.plan(ROOT, release, "/srv/app/build/v2"))
        calls: list[v1.Call] = []

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(release_into, calls, deploy, release, plan["digest"])
                await anyio.sleep(random.uniform(0.0, 0.5))
                os.kill(host, signal.SIGKILL)
        (call,) = calls
        outcomes.add(call.outcome)
        expected = release if call.outcome == APPLIED else live
        assert site.link() == f"releases/{expected}", (number, call)
        there = site.up.fixture / ROOT.lstrip("/") / "releases" / release
        assert there.exists() == (call.outcome == APPLIED), (number, call)
        if there.exists():
            assert len([*there.iterdir()]) == FILES + 2
        # What was killed may take a moment to go.
        for _ in range(200):
            if host_of(site.up) != host:
                break
            await anyio.sleep(0.05)
        assert host_of(site.up) != host
        status = result_of(await answered(deploy))
        assert (status["live"], status["interrupted"]) == (expected, None)
        live = expected
    names = [path.name for path in (site.up.fixture / ROOT.lstrip("/") / "releases").iterdir()]
    assert not [name for name in names if name.startswith(".")], names
    assert outcomes <= {APPLIED, NOT_APPLIED}
