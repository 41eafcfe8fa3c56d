"""Services that the real systemd keeps: it is the first process of a container made of namespaces, the host runs in it.

The container has the machine's programs, and directories of its own wherever systemd writes. No unit of the
machine's own is loaded. `make systemd` runs it: a first process of its own is more than a test run should
need of a machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import READY_S, Up

pytestmark = pytest.mark.timeout(180)

AROUND = """
set -eu
mount --make-rprivate /
mkdir cgroup run dev etc.new
mount -t cgroup2 cgroup2 cgroup
group=cgroup/cmdop-systemd-$$
mkdir $group
trap 'kill -KILL $child' TERM
( echo 0 > $group/cgroup.procs
  exec unshare --cgroup --pid --uts --ipc --fork --kill-child bash inside.sh ) &
child=$!
wait $child || true
for try in 1 2 3 4 5 6 7 8 9 10; do
  find $group -depth -type d -exec rmdir {} + 2> errors && break
  sleep 0.2
done
"""
"""Makes a control group for it, and removes that when it has ended."""

INSIDE = """
set -eu
here=$PWD
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount -R /sys
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount --move dev /dev
cp -a /etc/. etc.new
echo 0123456789abcdef0123456789abcdef > etc.new/machine-id
mount --bind etc.new /etc
for place in /run /var/log /var/lib/systemd; do mkdir -p $place; mount -t tmpfs -o mode=755 tmpfs $place; done
mkdir -p /run/systemd/system /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\n' > /run/systemd/journald.conf.d/here.conf
export container=cmdop SYSTEMD_UNIT_PATH=$here/units
export SYSTEMD_GENERATOR_PATH=$here/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=$here/none
exec /lib/systemd/systemd --system --unit=here.target --log-target=console --show-status=no
"""
"""What it finds: kernel settings that it cannot write, and its own `/dev`, `/etc`, `/run` and logs."""

JOURNAL = """[Unit]
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
[Service]
Type=notify
ExecStart=/lib/systemd/systemd-journald
StandardOutput=null
Sockets=systemd-journald.socket
"""
SOCKET = """[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
PassCredentials=yes
Service=systemd-journald.service
"""
TARGET = """[Unit]
DefaultDependencies=no
Wants=host.service systemd-journald.service
"""
HOST = """[Unit]
DefaultDependencies=no
[Service]
WorkingDirectory={here}
ExecStart={python} -m cmdop up --data {here}/data --listen 127.0.0.1:0 --workspace /srv/app
StandardOutput=append:{here}/ready
StandardError=append:{here}/errors
Environment=PATH=/usr/bin:/bin HOME={here}
"""
WORKER = """[Unit]
DefaultDependencies=no
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/bash {here}/worker.sh
ExecReload=/bin/kill -HUP $MAINPID
"""
WORKER_SCRIPT = """
trap 'echo read again' HUP
echo began as $$
systemd-notify --ready
while :; do sleep 0.1; done
"""
FAILING = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'echo no chance; exit 7'
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    if os.geteuid() != 0:
        pytest.skip("a container of namespaces with its own control group is root's to make")
    assert Path("/lib/systemd/systemd").exists(), "install the package `systemd`: no first process need run it"
    here = tmp_path_factory.mktemp("systemd")
    (here / "units").mkdir()
    (here / "none").mkdir()
    words = {"here": here, "python": sys.executable}
    for name, text in {
        "units/here.target": TARGET,
        "units/host.service": HOST.format(**words),
        "units/worker.service": WORKER.format(**words),
        "units/failing.service": FAILING,
        "units/systemd-journald.service": JOURNAL,
        "units/systemd-journald.socket": SOCKET,
        "around.sh": AROUND,
        "inside.sh": INSIDE,
        "worker.sh": WORKER_SCRIPT,
    }.items():
        (here / name).write_text(text)
    with (here / "log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "around.sh"], cwd=here, stdout=log, stderr=log, text=True
        )
    ready = here / "ready"
    deadline = time.monotonic() + READY_S
    while not (ready.exists() and ready.read_text().startswith("cmdop ready on ")):
        said = "".join(part.read_text() for part in (here / "log", here / "errors") if part.exists())
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            raise AssertionError(f"systemd did not start the host: {said}")
        time.sleep(0.05)
    line = ready.read_text().strip()
    yield Up(process, line.split()[3], here / "data", here, line)
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(here / "data", ignore_errors=True)


def looked(machine: Up, tool: str, name: str) -> dict[str, Any]:
    """What a tool that only looks says of a service."""
    code, call = machine.call("call", f"service.{tool}", "--host", "local", "--arg", f"name={name}")
    assert code == 0, call
    result: dict[str, Any] = call["result"]
    return result


def acted(machine: Up, verb: str, name: str) -> dict[str, Any]:
    """What became of a call that a person approved."""
    code, held = machine.call("call", f"service.{verb}", "--host", "local", "--arg", f"name={name}")
    if code == 4:
        _, decided = machine.call("approvals", "approve", held["approval_id"])
        held = decided["call"]
    return held


def until_logged(machine: Up, name: str, said: str) -> None:
    """Waits until the journal has what a service said: it comes by a pipe and a daemon."""
    deadline = time.monotonic() + 30
    while said not in (logs := looked(machine, "logs", name)["text"]):
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


def test_a_service_of_systemd_is_started_reloaded_restarted_and_stopped(machine: Up) -> None:
    before = looked(machine, "status", "worker")
    assert (before["supervisor"], before["state"], before["pid"]) == ("systemd", "stopped", None)
    started = acted(machine, "start", "worker")
    assert (started["outcome"], started["result"]["state"]) == ("applied", "running"), started
    first = looked(machine, "status", "worker")["pid"]
    assert first == started["result"]["pid"] and first
    reloaded = acted(machine, "reload", "worker")
    assert (reloaded["outcome"], reloaded["result"]["pid"]) == ("applied", first), reloaded
    until_logged(machine, "worker", "read again")
    restarted = acted(machine, "restart", "worker")
    assert (restarted["outcome"], restarted["result"]["state"]) == ("applied", "running"), restarted
    assert restarted["result"]["pid"] not in (None, first)
    stopped = acted(machine, "stop", "worker")
    assert (stopped["outcome"], stopped["result"]["state"]) == ("applied", "stopped"), stopped
    for pid in (first, restarted["result"]["pid"]):
        until_logged(machine, "worker", f"began as {pid}")
    one = machine.call("call", "service.logs", "--host", "local", "--arg", "name=worker", "--arg", "lines=1")[1]
    assert (len(one["result"]["text"].splitlines()), one["result"]["truncated"]) == (1, True), one


def test_a_service_that_fails_says_so(machine: Up) -> None:
    failed = acted(machine, "start", "failing")
    assert failed["error"]["reason"] == "COMMAND_FAILED", failed
    status = looked(machine, "status", "failing")
    assert (status["state"], status["exit_code"]) == ("failed", 7), status
    until_logged(machine, "failing", "no chance")


def test_a_service_that_is_not_there_is_told(machine: Up) -> None:
    _, call = machine.call("call", "service.status", "--host", "local", "--arg", "name=nobodys")
    assert (call["outcome"], call["error"]["reason"]) == ("not_applied", "PATH_NOT_FOUND"), call
