"""Processes and services: looking at them, signalling them, and changing their state."""

from __future__ import annotations

import re

from cmdop.policy.commands.network import endpoint_of
from cmdop.policy.effects import Effects, connect, effect, external, look, read, signal
from cmdop.policy.invocation import Invocation, Unanalysable
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command


@command(
    "ps",
    "pgrep",
    "pidof",
    "pstree",
    "top",
    "htop",
    "lsof",
    "w",
    "who",
    "last",
    "lastlog",
    "lastb",
    "jobs",
    "pmap",
    "pwdx",
    "fuser",
    "procs",
    "finger",
    "pinky",
    "ac",
    "prtstat",
)
def inspect(call: Invocation) -> Effects:
    """Looks at processes and users."""
    if call.program == "fuser" and any(
        re.fullmatch(r"-[a-zA-Z]*k[a-zA-Z]*|--kill|-[A-Z]{3,}", word.text) for word in call.words
    ):
        yield signal("*")
    for word in call.words:
        if call.program == "finger" and "@" in word.text:
            yield connect(endpoint_of(word.text.rpartition("@")[2], "79"))
        if call.program == "lsof" and word.text.startswith("-D"):
            raise Unanalysable("lsof -D writes a cache")
    if call.program == "ps" and _shows_environments([word.text for word in call.words]):
        yield read("/proc/*/environ")
    yield look()


def _shows_environments(texts: list[str]) -> bool:
    """Of BSD's letters, which have no dash, `e` adds the environment of each process."""
    before = ["", *texts]
    letters = (text for at, text in enumerate(texts) if not re.fullmatch(r"-\w*[CGUgpqstuo]|--\w[\w-]*", before[at]))
    return any(re.fullmatch(r"[a-zA-Z]*e[a-zA-Z]*", text) for text in letters)


@command("kill")
def kill(call: Invocation) -> Effects:
    """Signals processes by number; a negative one is a group, -1 everything. Signal 0 only asks."""
    words = [word.text for word in call.words]
    if words and words[0] in ("-l", "-L", "--list", "--table"):
        return
    if words and words[0] in ("-0",):
        yield look()
        return
    if words and words[0] in ("-s", "--signal", "-n"):
        words = words[2:]
    elif words and words[0].startswith("-"):
        words = words[1:]
    for word in words:
        if word == "--":
            continue
        if not word.isdigit() or int(word) == 0:
            yield signal("*")
        else:
            yield signal(f"pid:{word}")


@command("pkill", "killall", "xkill", "skill", "killall5")
def kill_by_name(call: Invocation) -> Effects:
    """Signals every process that matches."""
    named = [word for word in call.words if not word.text.startswith("-")]
    if call.program == "killall" and len(named) == len(call.words):
        for word in named:
            yield signal(word.pattern)
    else:
        yield signal("*")


@command(
    "renice",
    "prlimit",
    "cpulimit",
    "strace",
    "ltrace",
    "gdb",
    "perf",
    "bpftrace",
    "gcore",
    "reptyr",
    "criu",
    "gdbserver",
    "lldb",
    "rr",
    "valgrind",
    "tcpdump",
    "tshark",
    "wireshark",
    "dtrace",
    "sysdig",
    "ftrace",
)
def attach(call: Invocation) -> Effects:
    """Looks into, or changes, what runs."""
    yield signal("*", certain=False)
    raise Unanalysable(f"what {call.program} does to what runs is not known")


_LOOKS = frozenset(
    [
        "status",
        "show",
        "cat",
        "is-active",
        "is-enabled",
        "is-failed",
        "is-system-running",
        "list-units",
        "list-unit-files",
        "list-timers",
        "list-dependencies",
        "list-sockets",
        "list-jobs",
        "list-machines",
        "list-paths",
        "get-default",
        "show-environment",
        "help",
    ]
)


_SYSTEMD_SETTINGS = frozenset(["edit", "set-property", "set-default", "link", "preset", "preset-all", "revert", "set-environment", "unset-environment", "import-environment", "switch-root", "soft-reboot", "clean", "add-wants", "add-requires", "log-level", "log-target", "service-log-level", "service-log-target", "service-watchdogs", "exit", "cancel", "mount-image", "bind", "default", "hybrid-sleep", "suspend-then-hibernate", "sleep", "reenable"])  # fmt: skip
"""Verbs of systemctl that change how units are set up, how systemd runs, or whether the machine does."""


@command(
    "systemctl",
    "service",
    "rc-service",
    "initctl",
    "launchctl",
    "supervisorctl",
    "sv",
    "svc",
    "s6-rc",
    "monit",
    "chkconfig",
    "update-rc.d",
    "rc-update",
    "invoke-rc.d",
)
def services(call: Invocation) -> Effects:
    """Asks for, or changes, the state of services."""
    words = operands(
        call,
        frozenset(
            [
                "-u",
                "--unit",
                "-p",
                "--property",
                "-t",
                "--type",
                "-H",
                "--host",
                "-M",
                "--machine",
                "-n",
                "--lines",
                "-o",
                "--output",
                "--state",
                "--job-mode",
                "--root",
                "-c",
                "--configuration",
                "-s",
            ]
        ),
    )
    texts = [word.text for word in call.words]
    if call.program in ("service", "rc-service", "invoke-rc.d"):
        words = words[1::-1] + words[2:]
    if not words:
        if not texts or any(
            text in ("--version", "--help", "--status-all", "--failed", "--all", "-a", "--list") for text in texts
        ):
            yield look()
            return
        raise Unanalysable(f"what {call.program} changes is not known")
    verb, units = words[0].text, words[1:]
    if call.program == "systemctl" and any(text.startswith(("-H", "--host", "-M", "--machine")) for text in texts):
        yield connect("*:*")
        yield external("remote/systemctl")
        return
    if call.program == "supervisorctl" and any(text.startswith(("-s", "--serverurl")) for text in texts):
        yield connect("*:*")
    if verb in _LOOKS or (
        call.program in ("launchctl", "supervisorctl", "sv", "monit", "initctl")
        and verb in ("list", "status", "summary", "avail", "tail", "print", "report", "blame")
    ):
        yield look()
        return
    kinds = {"start": "start", "stop": "stop", "restart": "restart", "reload": "reload", "try-restart": "restart", "reload-or-restart": "restart", "kill": "stop", "isolate": "stop",
             "enable": "start", "disable": "stop", "mask": "stop", "unmask": "start", "daemon-reload": "reload", "daemon-reexec": "reload", "force-reload": "reload", "load": "start", "unload": "stop",
             "bootstrap": "start", "bootout": "stop", "kickstart": "restart", "shutdown": "stop", "update": "reload", "reread": "reload", "remove": "stop", "up": "start", "down": "stop",
             "poweroff": "stop", "reboot": "restart", "halt": "stop", "suspend": "stop", "hibernate": "stop", "rescue": "stop", "emergency": "stop", "reset-failed": "reload", "kexec": "restart", "freeze": "stop", "thaw": "start", "defaults": "start", "add": "start", "del": "stop", "delete": "stop", "monitor": "start", "unmonitor": "stop"}  # fmt: skip
    if call.program == "systemctl" and verb in _SYSTEMD_SETTINGS:
        yield external(f"systemd/{verb}")
        return
    if verb not in kinds:
        raise Unanalysable(f"what `{call.program} {verb}` changes is not known")
    for name in [unit.pattern for unit in units] or ["*"]:
        yield effect(f"service.{kinds[verb]}", name)


@command("journalctl", "dmesg", "coredumpctl", "ausearch", "aureport", "auditctl", "logrotate", "lnav")
def logs(call: Invocation) -> Effects:
    """Reads the journal."""
    changing = (
        "--vacuum",
        "--rotate",
        "--flush",
        "--sync",
        "-C",
        "-c",
        "--clear",
        "--read-clear",
        "-D",
        "-E",
        "--update-catalog",
        "--setup-keys",
        "--relinquish",
        "--console-",
    )
    texts = [word.text for word in call.words]
    if call.program == "lnav" and any(text.startswith("-") and text not in ("-n", "-q", "-r", "-t") for text in texts):
        raise Unanalysable("lnav runs commands of its own")
    if call.program == "journalctl":
        changing = ("--cursor-file", *changing)
        changing = tuple(each for each in changing if each not in ("-C", "-c", "-D", "-E"))
    elif call.program == "dmesg":
        changing += ("-n",)
    if any(text.startswith(changing) for text in texts) or (
        call.program in ("auditctl", "logrotate", "coredumpctl")
        and texts[:1] not in (["-l"], ["-s"], ["list"], ["info"], ["--version"], ["-d"])
    ):
        raise Unanalysable(f"{call.program} changes what is logged")
    yield read("/var/log/**", certain=False)


@command(
    "nginx",
    "apachectl",
    "apache2ctl",
    "httpd",
    "apache2",
    "haproxy",
    "caddy",
    "sshd",
    "named-checkconf",
    "named-checkzone",
    "postconf",
    "postfix",
    "dovecot",
    "php-fpm",
    "varnishd",
    "squid",
    "traefik",
)
def servers(call: Invocation) -> Effects:
    """Servers that say their version or check their settings; running or signalling one is not followed."""
    texts = [word.text for word in call.words]
    if call.program in ("named-checkconf", "named-checkzone", "postconf"):
        if any(
            (text.startswith(("-e", "-#", "-X", "-M", "-P", "-t", "-D", "-o")) and call.program == "postconf")
            or text.startswith(("-t", "-o", "-D", "-w"))
            for text in texts
        ):
            raise Unanalysable(f"{call.program} writes or changes its root")
        if call.program == "postconf" and any("=" in text for text in texts):
            raise Unanalysable("postconf changes a setting")
        if any("/" in text and (not text.startswith("/etc/") or ".." in text) for text in texts):
            raise Unanalysable(f"{call.program} reads settings of the caller's choice")
        yield read("/etc/postfix/**" if call.program == "postconf" else "/etc/bind/**", certain=False)
        return
    asks = {
        "-v",
        "-V",
        "-t",
        "-T",
        "-tq",
        "-h",
        "--version",
        "version",
        "configtest",
        "-S",
        "-M",
        "fullstatus",
        "status",
        "validate",
        "-vv",
        "check",
    }
    if call.program == "haproxy" and texts[:1] == ["-c"]:
        asks.add("-c")
    # Settings load modules and scripts, so that only those of the system are no more than read.
    own = all(
        text in ("-c", "-f", "-q", "-t", "-T", "-S", "-M", "-y") or text.startswith("/etc/") for text in texts[1:]
    )
    if not texts or not set(texts[:1]) <= asks or not own or any(".." in text for text in texts):
        raise Unanalysable(f"what {call.program} does is not known")
    yield read("/etc/" + call.program + "/**", certain=False)
