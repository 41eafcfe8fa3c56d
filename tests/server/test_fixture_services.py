"""Services of a fixture: kept by the host's own supervisor, in sight of nothing of the machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live import Up, make_fixture, start_up

pytestmark = pytest.mark.timeout(180)

PORT = 18_080

WEB = """\
import http.server, sys
print("listening", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""

HOSTILE = """\
import ctypes, json, os, signal, socket, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
found = {}

def tried(name, act):
    try:
        found[name] = act()
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"

def syscall(*arguments):
    done = libc.syscall(*arguments)
    return done if done >= 0 else os.strerror(ctypes.get_errno())

def connected(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return "connected"

machine, server, data, uid = json.loads(open("/srv/app/machine.json").read())
tried("pids", lambda: sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
tried("own", os.getpid)
tried("kill", lambda: os.kill(machine, 9))
tried("server", lambda: connected(server))
tried("unix", lambda: socket.socket(socket.AF_UNIX) and "made")
tried("data", lambda: os.listdir(data))
tried("daemon", lambda: open("/proc/1/mem", "rb") and "opened")
tried("environ", lambda: open("/proc/1/environ", "rb").read(1) and "read")
tried("mount", lambda: syscall(165, b"none", b"/mnt", b"tmpfs", 0, None))
tried("setns", lambda: syscall(308, 0, 0))
tried("sysctl", lambda: open("/proc/sys/kernel/hostname", "w") and "opened")
tried("sysrq", lambda: open("/proc/sysrq-trigger", "w") and "opened")
tried("sys", lambda: open("/sys/kernel/mm/ksm/run", "w") and "opened")
tried("device", lambda: os.chmod("/dev/null", 0o600))
tried("disk", lambda: os.mknod("/srv/app/disk", 0o60600, os.makedev(8, 0)))
tried("dev", lambda: open("/dev/planted", "w") and "opened")
tried("pts", lambda: sorted(os.listdir("/dev/pts")))
tried("terminal", lambda: open("/dev/tty", "w") and "opened")
tried("all", lambda: os.kill(-1, 0))
tried("capabilities", lambda: [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapBnd")][0])
for place in ("/proc/self/root", "/proc/self/cwd", "/proc/1/root", "/proc/1/cwd", "/proc/2/root", "/proc/2/cwd"):
    tried(place, lambda: os.listdir(place + data))
units = "/etc/cmdop/services"
tried("unit", lambda: open(units + "/hostile.json", "w") and "opened")
tried("removed", lambda: os.remove(units + "/hostile.json"))
tried("mode", lambda: os.chmod(units + "/hostile.json", 0o666))
tried("planted", lambda: open(units + "/planted.json", "w") and "opened")
tried("linked", lambda: os.link(units + "/hostile.json", "/srv/app/linked"))
tried("fifo", lambda: os.mkfifo(units + "/fifo.json"))
for above in (units, "/etc/cmdop", "/etc"):
    tried("moved " + above, lambda: os.rename(above, above + ".aside"))
for place in ("/etc/written", "/srv/app/written", "/written", f"/tmp/written-{uid}"):
    tried(place, lambda: open(place, "w").write("x"))
# A descendant that leaves the session and ignores every politeness.
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("/srv/app/descends", "w").write("x")
    while True:
        open("/srv/app/beat", "a").write("x")
        time.sleep(0.05)
open("/srv/app/found.json.new", "w").write(json.dumps(found))
os.rename("/srv/app/found.json.new", "/srv/app/found.json")
signal.signal(signal.SIGHUP, lambda *_: print("reloaded", flush=True))
while True:
    time.sleep(1)
"""


def unit(fixture: Path, name: str, script: str, *arguments: str, **more: Any) -> None:
    (fixture / f"srv/app/{name}.py").write_text(script)
    units = fixture / "etc/cmdop/services"
    units.mkdir(parents=True, exist_ok=True)
    command = [os.path.realpath(sys.executable), "-u", f"/srv/app/{name}.py", *arguments]
    (units / f"{name}.json").write_text(json.dumps({"command": command, "cwd": "/srv/app"} | more))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Up]:
    fixture = make_fixture(tmp_path / "fixture")
    unit(fixture, "web", WEB, str(PORT), cwd="/srv/app/site", port=PORT)
    unit(fixture, "hostile", HOSTILE)
    (fixture / "srv/app/machine.json").write_text("[]")
    for release, text in (("v1", "one"), ("v2", "two")):
        (fixture / "srv/app/build" / release).mkdir(parents=True)
        (fixture / "srv/app/build" / release / "index.html").write_text(text)
    for place in ("site", "live"):
        (fixture / "srv/app" / place).mkdir()
    (fixture / "srv/app/site/index.html").write_text("served")
    running = start_up(tmp_path / "data", fixture)
    yield running
    assert running.stop() == 0


def act(up: Up, verb: str, name: str) -> dict[str, Any]:
    """An agent asks, a person approves."""
    agent = ("--agent", "keeper", "--intent", f"{verb} it", "--arg", f"name={name}")
    expect = ("--expect", f"service.{verb}:{name}")
    code, call = up.call("call", f"service.{verb}", "--host", "local", *agent, *expect)
    if code == 4:
        code, answer = up.call("approvals", "approve", call["approval_id"])
        call = answer["call"]
    assert code == 0, call
    return call


def look(up: Up, tool: str, *arguments: str) -> dict[str, Any]:
    given = (part for argument in arguments for part in ("--arg", argument))
    code, call = up.call("call", tool, "--host", "local", *given)
    assert code == 0, call
    return call["result"]


def test_a_service_of_a_fixture_is_started_asked_checked_and_stopped(serving: Up) -> None:
    up = serving
    assert look(up, "service.status", "name=web")["state"] == "stopped"
    agent = ("--agent", "keeper", "--intent", "serve", "--expect", "service.start:web")
    code, held = up.call("call", "service.start", "--host", "local", "--arg", "name=web", *agent)
    assert code == 4, held
    code, answer = up.call("approvals", "approve", held["approval_id"])
    assert (code, answer["call"]["outcome"]) == (0, "applied"), answer
    status = look(up, "service.status", "name=web")
    assert (status["state"], status["healthy"], status["supervisor"]) == ("running", True, "own")
    assert "listening" in look(up, "service.logs", "name=web")["text"]
    listed = look(up, "process.list")["processes"]
    assert status["pid"] in [process["pid"] for process in listed]
    assert os.getpid() not in [process["pid"] for process in listed], "those of the machine are not told of"
    with socket.socket() as machine:
        machine.settimeout(1)
        assert machine.connect_ex(("127.0.0.1", PORT)) != 0, "it is not on the machine's loopback"

    root = ("root=/srv/app/live", "release=v1", "source=/srv/app/build/v1")
    digest = look(up, "deploy.plan", *root)["digest"]
    check = json.dumps({"port": PORT, "path": "/index.html", "retries": 1, "interval_ms": 50})
    given = [part for one in (*root, f"digest={digest}", f"check_after={check}") for part in ("--arg", one)]
    code, released = up.call("call", "deploy.release", "--host", "local", "--user", "ops", *given)
    if code == 4:
        code, answer = up.call("approvals", "approve", released["approval_id"])
        released = answer["call"]
    assert (code, released["outcome"]) == (0, "applied"), released
    assert released["result"]["check_after"]["status"] == 200, released

    call = act(up, "restart", "web")
    assert call["outcome"] == "applied"
    assert look(up, "service.status", "name=web")["pid"] != status["pid"]
    act(up, "stop", "web")
    assert look(up, "service.status", "name=web")["state"] == "stopped"
    assert look(up, "process.list")["processes"] == []


def test_a_hostile_service_finds_nothing_of_the_machine(serving: Up) -> None:
    up = serving
    app = up.fixture / "srv/app"
    server = up.address.rsplit(":", 1)[1]
    # The fixture is mounted: a new file in its directory might not show.
    (app / "machine.json").write_text(json.dumps([os.getpid(), int(server), str(up.data), str(up.process.pid)]))
    act(up, "start", "hostile")
    deadline = time.monotonic() + 30
    while not (app / "found.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    found = json.loads((app / "found.json").read_text())
    assert found["pids"] == [1, 2] and found["own"] == 2, found
    assert found["kill"].startswith("ProcessLookupError")
    assert found["server"].startswith("ConnectionRefusedError")
    assert found["data"] == [] or found["data"].startswith("FileNotFoundError"), found
    for name in ("unix", "daemon", "environ", "disk", "device"):
        assert found[name].split(":")[0] in ("PermissionError", "OSError"), (name, found[name])
    for name in ("mount", "setns"):
        assert found[name] == "Operation not permitted"
    for name in ("sysctl", "sysrq", "sys", "dev", "terminal"):
        assert "Error" in str(found[name]), (name, found[name])
    places = [f"/proc/{pid}/{name}" for pid in ("self", "1", "2") for name in ("root", "cwd")]
    for place in places:
        # A directory of the fixture's, in which what is hidden is empty, or nothing at all.
        assert found[place] == [] or "Error" in str(found[place]), (place, found[place])
    for name in ("unit", "removed", "mode", "planted", "linked", "fifo"):
        assert "Error" in str(found[name]), (name, found[name])
    for above in ("/etc/cmdop/services", "/etc/cmdop", "/etc"):
        assert found[f"moved {above}"].startswith("OSError: [Errno 16]"), (above, found[f"moved {above}"])
    assert found["/etc/written"] == 1, "only the units are kept from it"
    assert found["pts"] == ["ptmx"]
    assert int(found["capabilities"], 16) == 0x4FB, found["capabilities"]
    assert (found["/srv/app/written"], (app / "written").read_text()) == (1, "x"), "the fixture is its own to change"
    for name in ("written", f"tmp/written-{up.process.pid}"):
        assert not (Path("/") / name).exists(), "the machine is not"
    assert os.path.exists("/dev/null") and os.stat("/dev/null").st_mode & 0o777 == 0o666
    act(up, "reload", "hostile")
    time.sleep(0.3)
    assert "reloaded" in look(up, "service.logs", "name=hostile")["text"]
    assert (app / "beat").exists()
    act(up, "stop", "hostile")
    size = (app / "beat").stat().st_size
    time.sleep(0.3)
    assert (app / "beat").stat().st_size == size, "what left the session ended, too"


def refused(up: Up, name: str) -> str:
    """Why a start that a person approved did not start anything."""
    given = ("--intent", "try", "--arg", f"name={name}", "--expect", f"service.start:{name}")
    code, call = up.call("call", "service.start", "--host", "local", "--agent", "keeper", *given)
    if code == 4:
        code, answer = up.call("approvals", "approve", call["approval_id"])
        call = answer["call"]
    assert (code != 0, call["outcome"]) == (True, "not_applied"), call
    return call["error"]["message"]


@pytest.fixture
def led_out(tmp_path: Path) -> Iterator[Up]:
    """Units whose paths mean another thing to the daemon than they do inside."""
    fixture = make_fixture(tmp_path / "fixture")
    write = "from pathlib import Path\nPath('planted').write_text('x')\nPath('/srv/app/ran').write_text('x')\n"
    write += "import time\ntime.sleep(1000)\n"
    for number, cwd in enumerate(LED_OUT):
        unit(fixture, f"cwd{number}", write, cwd=cwd)
        unit(fixture, f"program{number}", write, command=[f"{cwd}/bin/sleep", "1000"], cwd="/")
    # Before it is the script's interpreter a service is an image of the daemon, whose program is the machine's.
    image = fixture / "srv/app/image"
    image.write_text("#!/proc/self/exe\n" + write)
    image.chmod(0o755)
    unit(fixture, "image", write, command=["/srv/app/image"])
    unit(fixture, "nowhere", write, cwd="/no/such/place")
    unit(fixture, "file", write, cwd="/srv/app/file.py")
    unit(fixture, "here", write, cwd="/srv/app/linked")
    (fixture / "srv/app/out").symlink_to("/proc/2")
    (fixture / "srv/app/linked").symlink_to("/srv/app")
    running = start_up(tmp_path / "data", fixture)
    yield running
    assert running.stop() == 0


LED_OUT = [
    *(f"/proc/{pid}/{name}" for pid in ("self", "1", "2") for name in ("root", "cwd")),
    "/proc/self/fd/3",
    "/srv/app/out/cwd",
    "/proc/2/cwd/srv/app",
]


def test_no_path_of_a_unit_leads_out_of_the_fixture(led_out: Up) -> None:
    for number, cwd in enumerate(LED_OUT):
        for name in (f"cwd{number}", f"program{number}"):
            why = refused(led_out, name)
            assert "leads through a link of /proc" in why or "could not be found" in why, (cwd, why)
            assert cwd in why, (cwd, why)
    assert "leads through a link of /proc" in refused(led_out, "image")
    assert not (led_out.fixture / "srv/app/ran").exists()
    why = refused(led_out, "nowhere")
    assert "the working directory /no/such/place could not be found: No such file or directory" in why, why
    assert "the working directory /srv/app/file.py could not be found: Not a directory" in refused(led_out, "file")
    act(led_out, "start", "here")
    assert (led_out.fixture / "srv/app/planted").exists(), "links that are the fixture's own lead on"


CONTACT = """\
import json, os, sys, time

found = {}

def tried(name, act):
    try:
        found[name] = act()
    except OSError as error:
        found[name] = f"{type(error).__name__}: {error}"

def tell(place):
    os.write(os.open(place, os.O_WRONLY | os.O_NONBLOCK), b"from the fixture")
    return "told"

machine = json.loads(sys.argv[1])
tried("fifo", lambda: tell(machine + "/fifo"))
tried("single", lambda: tell(machine + "/single"))
tried("within", lambda: tell(machine + "/within/fifo"))
tried("file", lambda: open(machine + "/file").read())
tried("kept", lambda: open(machine + "/within/kept").read())
tried("changed", lambda: open(machine + "/within/new", "w").write("x"))
tried("read only", lambda: open(machine + "/new", "w") and "made")
open("/srv/app/contact.new", "w").write(json.dumps(found))
os.rename("/srv/app/contact.new", "/srv/app/contact.json")
time.sleep(1000)
"""


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A read-only mount of the machine's with fifos, and one that may be written within it."""
    place = tmp_path / "machine"
    place.mkdir()
    (tmp_path / "within").mkdir()
    os.mkfifo(tmp_path / "single")
    mounted: list[Path] = []

    def mount(where: Path, *how: str) -> None:
        subprocess.run(["mount", *how, str(where)], check=True)
        mounted.append(where)

    try:
        mount(place, "-t", "tmpfs", "none")
        (place / "file").write_text("of the machine")
        (place / "single").write_text("")
        (place / "within").mkdir()
        os.mkfifo(place / "fifo")
        mount(place / "within", "-t", "tmpfs", "none")
        (place / "within/kept").write_text("kept")
        os.mkfifo(place / "within/fifo")
        mount(place / "single", "--bind", str(tmp_path / "single"))
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place
    finally:
        for where in reversed(mounted):
            subprocess.run(["umount", "--lazy", str(where)], check=True)


def test_no_fifo_of_the_machine_hears_of_a_service(tmp_path: Path, read_only: Path) -> None:
    fixture = make_fixture(tmp_path / "fixture")
    unit(fixture, "contact", CONTACT, json.dumps(str(read_only)))
    fifos = [read_only / name for name in ("fifo", "single", "within/fifo")]
    heard = [os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) for fifo in fifos]
    running = start_up(tmp_path / "data", fixture)
    try:
        act(running, "start", "contact")
        answer = fixture / "srv/app/contact.json"
        deadline = time.monotonic() + 30
        while not answer.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        found = json.loads(answer.read_text())
        # With its writing end closed or never opened, a fifo has nothing.
        assert [os.read(one, 100) for one in heard] == [b""] * 3, found
        assert (found["file"], found["kept"], found["changed"]) == ("of the machine", "kept", 1), found
        assert "Read-only file system" in found["read only"], found
        assert "Error" in found["fifo"] and "Error" in found["within"], found
        assert not (read_only / "within/new").exists()
    finally:
        for one in heard:
            os.close(one)
        assert running.stop() == 0


def test_what_a_fixture_has_not_is_refused_before_a_person_is_asked(serving: Up) -> None:
    arguments = ("--arg", f"pid={os.getpid()}", "--arg", "name=python", "--agent", "keeper", "--intent", "end it")
    expect = ("--expect", f"process.signal:pid:{os.getpid()}")
    code, call = serving.call("call", "process.signal", "--host", "local", *arguments, *expect)
    assert (code, call["error"]["reason"], call["approval_id"]) == (2, "UNKNOWN_TOOL", None), call
    assert "the fixture `local` has no tool `process.signal`" in call["error"]["message"]
    assert "service.stop" in call["error"]["remedy"]["expected"]
    assert serving.call("approvals", "list") == (0, [])
