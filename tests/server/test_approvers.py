"""A server that knows its approvers: nobody else decides, whoever they say they are."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.live import Up, make_fixture, start_up

from cmdop import v1
from cmdop.client import Client
from cmdop.errors import InvalidConfigurationError, StorageFullError, UnauthenticatedError
from cmdop.server.approvers import Approver, changing, digest_of, load_approvers

pytestmark = pytest.mark.timeout(180)

HOUR = timedelta(hours=1)

POLICY = """
@id("site.database")
@decision("require_approval")
@approvals("2")
@approvers("operators")
@reason("Two operators look at every change of the data.")
forbid (principal, action in Action::"write", resource in Path::"/srv/app/data");
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Up, list[str]]]:
    """A server with two approvers to come, and what starts it again."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "entities.toml").write_text('[groups.users]\noperators = ["grace", "linus"]\n')
    policy = tmp_path / "site.cedar"
    policy.write_text(POLICY)
    arguments = ["--policy", "workspace", "--policy", str(policy)]
    up = start_up(data, make_fixture(tmp_path / "fixture"), *arguments)
    try:
        yield up, arguments
    finally:
        up.stop()


def add(up: Up, name: str, *more: str) -> str:
    """Adds an approver, and returns the token that is printed."""
    code, added = up.call("approvers", "add", name, "--data", str(up.data), *more)
    assert (code, added["name"]) == (0, name), added
    return str(added["token"])


def held(up: Up, target: str) -> dict[str, Any]:
    code, call = up.call(
        "call", "files.delete", "--host", "local", "--user", "ada", "--agent", "janitor", "--intent", "make room",
        "--arg", f"path={target}",
    )  # fmt: skip
    assert code == 4, call
    return call


def reason(answer: tuple[int, dict[str, Any]]) -> str:
    assert answer[0] == 3, answer
    return str(answer[1]["error"]["reason"])


def test_two_approvers_agree_with_their_own_tokens_and_one_never_counts_twice(site: tuple[Up, list[str]]) -> None:
    up, arguments = site
    grace, linus = add(up, "grace"), add(up, "linus", "--group", "leads")
    assert stat.S_IMODE((up.data / "approvers.toml").stat().st_mode) == 0o600
    assert grace not in (up.data / "approvers.toml").read_text()
    call = held(up, "/srv/app/data/app.db")
    # The server reads it when it is told to.
    assert up.call("freeze", "--host", "web", "--why", "a test", "--user", "anybody")[0] == 0
    assert up.call("policy", "reload")[0] == 0
    call = held(up, "/srv/app/data/app.db")
    approve = ("approvals", "approve", call["approval_id"])
    for claim in (
        ("--user", "grace"),
        ("--user", "grace", "--token", linus),
        ("--user", "grace", "--token", grace[:-1]),
        ("--user", "mallory", "--token", grace),
    ):
        assert reason(up.call(*approve, *claim)) == "UNAUTHENTICATED", claim
    code, first = up.call(*approve, "--user", "grace", "--token", grace)
    assert (code, first["missing"]) == (0, 1)
    # Neither again nor under another's name.
    assert reason(up.call(*approve, "--user", "grace", "--token", grace)) == "NOT_APPROVER"
    assert reason(up.call(*approve, "--user", "linus", "--token", grace)) == "UNAUTHENTICATED"
    up.stop(signal.SIGKILL)
    up = start_up(up.data, up.fixture, *arguments)
    try:
        assert reason(up.call(*approve, "--user", "linus")) == "UNAUTHENTICATED"
        code, done = up.call(*approve, "--user", "linus", "--token", linus)
        assert (code, done["call"]["outcome"]) == (0, "applied")
        assert [one["approver"] for one in done["answers"]] == ["grace", "linus"]
        assert not (up.fixture / "srv/app/data/app.db").exists()
    finally:
        up.stop()


def test_nobody_proposes_under_a_known_name_without_its_token(site: tuple[Up, list[str]]) -> None:
    up, _ = site
    grace, linus = add(up, "grace"), add(up, "linus")
    assert up.call("policy", "reload")[0] == 0
    write = ("call", "files.write", "--host", "local", "--arg", "path=/srv/app/new.txt", "--arg", "content=x")
    for claimed in (("--user", "grace"), ("--user", "grace", "--token", linus), ("--user", "ada", "--token", linus)):
        assert reason(up.call(*write, *claimed)) == "UNAUTHENTICATED"
    assert not (up.fixture / "srv/app/new.txt").exists()
    for believed in (("--user", "ada"), ("--user", "grace", "--token", grace)):
        code, call = up.call(*write, *believed)
        assert (code, call["user"]) == (0, believed[1]), call


def test_freezes_and_grants_need_a_token_too_and_the_sdk_takes_who_it_is_from_it(site: tuple[Up, list[str]]) -> None:
    up, _ = site
    token = add(up, "grace")
    assert up.call("policy", "reload")[0] == 0

    async def inner() -> None:
        async with Client(up.address, user="grace") as stranger:
            for refused in (
                stranger.freezes.create("an incident", host="local"),
                stranger.grants.create(
                    "janitor", "file.delete:/srv/app/logs/*", why="nightly", uses=1, ttl=HOUR, host="local"
                ),
            ):
                with pytest.raises(UnauthenticatedError, match="knows its approvers"):
                    await refused
        async with Client(up.address, token=token) as known:
            assert known.user == "grace"
            made = await known.freezes.create("an incident", host="local")
            assert made.author.user == "grace"
            await known.freezes.lift(made.freeze_id)
            granted = await known.grants.create(
                "janitor", "file.delete:/srv/app/logs/*", why="nightly", uses=1, ttl=HOUR, host="local"
            )
            assert (await known.grants.list())[0] == granted
            assert (await known.grants.revoke(granted.grant_id)).revocation.by.user == "grace"
        with pytest.raises(InvalidConfigurationError):
            async with Client(up.address, token="two words"):
                pass

    anyio.run(inner, backend="trio")


def test_a_new_token_takes_the_place_of_the_old_and_the_last_approver_stays(site: tuple[Up, list[str]]) -> None:
    up, arguments = site
    lost = add(up, "grace")
    code, refused = up.call("approvers", "add", "grace", "--data", str(up.data))
    assert (code, refused["error"]["reason"]) == (2, "INVALID_CONFIGURATION")
    found = add(up, "grace", "--replace")
    assert up.call("policy", "reload")[0] == 0
    freeze = ("freeze", "--host", "local", "--why", "a test", "--user", "grace", "--token")
    assert reason(up.call(*freeze, lost)) == "UNAUTHENTICATED"
    assert up.call(*freeze, found)[0] == 0
    # The file may go or break: the server goes on with whom it knows.
    for content in (None, "[approvers.grace]\n", "[approvers", '[approvers.grace]\ntoken_sha256 = "short"\n'):
        path = up.data / "approvers.toml"
        kept = path.read_text()
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        code, refused = up.call("policy", "reload")
        assert (code, refused["error"]["reason"]) == (2, "INVALID_CONFIGURATION"), content
        assert reason(up.call(*freeze, lost)) == "UNAUTHENTICATED"
        assert up.call(*freeze, found)[0] == 0
        path.write_text(kept)
    # A server that cannot read who answers does not start.
    up.stop()
    (up.data / "approvers.toml").write_text("[approvers")
    command = [sys.executable, "-m", "cmdop", "server", "--data", str(up.data), "--listen", "127.0.0.1:0", *arguments]
    started = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (started.returncode, started.stdout) == (2, ""), started.stderr
    assert "approvers.toml" in started.stderr


def test_the_file_is_changed_whole_or_not_at_all_also_on_a_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=True)
    try:
        with changing(disk) as known:
            known.approvers["grace"] = Approver(groups=["operators"], token_sha256=digest_of("one"))
        before = (disk / "approvers.toml").read_text()
        with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        with pytest.raises(StorageFullError):
            add_linus(disk)
        assert (disk / "approvers.toml").read_text() == before
        assert list(load_approvers(disk).approvers) == ["grace"]
        # With room again it is written.
        (disk / "filler").unlink()
        add_linus(disk)
        assert sorted(load_approvers(disk).approvers) == ["grace", "linus"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def add_linus(data: Path) -> None:
    with changing(data) as known:
        known.approvers["linus"] = Approver(token_sha256=digest_of("two"))


def test_groups_of_approvers_are_groups_of_policy(tmp_path: Path) -> None:
    with changing(tmp_path) as known:
        known.approvers["grace"] = Approver(groups=["leads", "operators"], token_sha256=digest_of("one"))
    entities = v1.PolicyEntities(user_groups={"operators": v1.Names(names=["ada"])})
    joined = load_approvers(tmp_path).join_groups(entities)
    assert [*joined.user_groups["operators"].names] == ["ada", "grace"]
    assert [*joined.user_groups["leads"].names] == ["grace"]


def test_who_is_added_without_a_directory_is_told_where_that_was(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path / "home"), "CMDOP_ADDRESS": "127.0.0.1:9"}
    added = [sys.executable, "-m", "cmdop", "approvers", "add", "grace"]
    done = subprocess.run(added, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stdout.split())) == (0, 1), done
    assert f"added in {tmp_path}/home/cmdop" in done.stderr and "127.0.0.1:9" in done.stderr and "--data" in done.stderr
    assert (tmp_path / "home/cmdop/approvers.toml").exists()
    named = [*added[:-1], "linus", "--data", str(tmp_path / "data"), "--json"]
    done = subprocess.run(named, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert json.loads(done.stdout)["data"] == str(tmp_path / "data")
