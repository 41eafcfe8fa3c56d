"""What says how the machine is: disks, memory, devices, load, units."""

from __future__ import annotations

import re
from dataclasses import replace

from cmdop.policy.effects import Effects, connect, external, look, read
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command

_ACTS = {
    "acpi": "",
    "atop": r"-w.*",
    "blkid": r"-[gw].*|--garbage-collect",
    "dmidecode": r"--dump-bin.*",
    "dstat": r"--output.*|-o.*|--profile",
    "fastfetch": r"-c|--config.*|--gen-config.*|--command.*",
    "glances": r"-[sw]|-c|--(client|server|webserver|export|browser|config).*|-C",
    "hwinfo": r"--(log|save-config|cleanup|dump).*",
    "inxi": r"-U|-i.*|-\w*[iUwW]\w*|--(update|weather|ip|export|output-file).*",
    "lshw": r"-dump",
    "neofetch": r"--config.*|--(ascii|source|image).*",
    "nmon": r"-[fFxXzm].*",
    "sar": r"-o.*|-A?o.*",
    "sensors": r"-s|--set|-c|--config-file.*|--bus-list",
    "iotop": "",
    "upower": r"--(enable|disable).*",
}
"""Options by which these write a file, run something, change a setting or ask another machine."""


@command(*["df", "free", "lsblk", "blkid", "mountpoint", "findmnt", "lscpu", "lsusb", "lspci", "lsmem", "lshw", "dmidecode", "vmstat", "iostat", "mpstat", "sar", "sensors", "lsmod", "modinfo", "lsns", "lslocks", "lsipc", "lslogins", "ipcs", "inxi", "neofetch", "fastfetch", "hwinfo", "acpi", "upower", "numastat", "slabtop", "nmon", "dstat", "glances", "btop", "iotop", "atop", "pidstat", "runlevel", "systemd-cgls", "systemd-cgtop", "systemd-detect-virt", "systemd-delta", "systemd-escape", "systemd-path", "postqueue", "mailq", "pg_config"])  # fmt: skip
def machine(call: Invocation) -> Effects:
    """Says how the machine is."""
    acts = _ACTS.get(call.program)
    for word in call.words:
        if acts and re.fullmatch(acts, word.text):
            raise Unanalysable(f"{call.program} {word.text} does more than look")
    if call.program == "postqueue" and [word.text for word in call.words] not in (["-p"], ["-j"]):
        yield external("mail/queue")
        return
    yield look()


@command("nvidia-smi")
def graphics(call: Invocation) -> Effects:
    """Asks for the state of graphics cards; anything else changes one."""
    known = r"-[Lqildx]|-lms?|--(list-gpus|query|query-.*|format=.*|id=.*|loop.*|display=.*|help|version)|-h|topo|-m|dmon|pmon|-s|-c|nvlink|[\w,.]+"
    texts = [word.text for word in call.words]
    monitors = texts[:1] in (["dmon"], ["pmon"], ["nvlink"], ["topo"])
    if not all(re.fullmatch(known, text) for text in texts) or (not monitors and {"-c", "-s", "-m"} & set(texts)):
        raise Unanalysable("nvidia-smi changes a device or writes a file")
    if texts and not texts[0].startswith("-") and not monitors:
        raise Unanalysable(f"what `nvidia-smi {texts[0]}` does is not known")
    yield look()


_ANALYSES = frozenset(["time", "blame", "critical-chain", "plot", "dot", "dump", "unit-paths", "unit-files", "exit-status", "capability", "condition", "syscall-filter", "filesystems", "calendar", "timestamp", "timespan", "cat-config", "compare-versions", "verify", "security", "inspect-elf", "fdstore", "image-policy", "has-tpm2", "pcrs", "architectures", "smbios11", "chid"])  # fmt: skip


@command("systemd-analyze")
def analysis(call: Invocation) -> Effects:
    """Says what units do and how long they take; some verbs change how systemd logs, or run a shell in a unit."""
    texts = [word.text for word in call.words]
    if any(text.startswith(("-H", "--host", "-M", "--machine")) for text in texts):
        yield external("remote/systemd-analyze")
        return
    verb = next((word.text for word in operands(call)), "time")
    if verb not in _ANALYSES and texts not in (["--version"], ["--help"], ["-h"]):
        raise Unanalysable(f"systemd-analyze {verb} does more than look")
    for word in operands(call)[1:]:
        if "/" in word.text:
            yield read(call.path(word))
    yield look()


@command(
    "date",
    "hostname",
    "hostnamectl",
    "timedatectl",
    "localectl",
    "loginctl",
    "stty",
    "ulimit",
    "umask",
    "lsb_release",
    "sw_vers",
)
def settings(call: Invocation) -> Effects:
    """Shows a setting; with an operand of another kind it changes it."""
    words = [word.text for word in call.words]
    operands = [text for text in words if not text.startswith(("-", "+"))]
    if call.program == "date":
        spec = Options(
            "uRI", "dr", ("date=", "utc", "universal", "iso-8601?", "rfc-3339=", "rfc-email", "reference=", "debug")
        )
        # `-Iseconds`: the value is attached, and changes nothing but the form.
        words = [
            Word("-I") if re.fullmatch(r"-I(date|hours|minutes|seconds|ns)", word.text) else word for word in call.words
        ]
        parsed = replace(call, argv=(call.argv[0], *words)).parse(spec)
        for word in parsed.values("r", "reference"):
            yield read(call.path(word))
        if any(not word.text.startswith("+") for word in parsed.operands):
            raise Unanalysable("date sets the clock")
    elif call.program.endswith("ctl"):
        if operands and not operands[0].startswith(
            ("status", "show", "list", "session-status", "user-status", "seat-status")
        ):
            raise Unanalysable(f"{call.program} {operands[0]} changes a setting")
    elif call.program in ("hostname", "stty") and operands:
        raise Unanalysable(f"{call.program} changes a setting")


@command("printenv", "getent", "findfs")
def names(call: Invocation) -> Effects:
    """Prints variables, databases of names, open files."""
    if call.program == "getent" and any("shadow" in word.text for word in call.words):
        yield read("/etc/shadow")
    if call.program == "getent" and call.words and call.words[0].text.startswith(("hosts", "ahosts", "networks")):
        names = [word.text for word in call.words[1:]]
        if any(not re.fullmatch(r"localhost|[\d.]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*|-.*", name) for name in names):
            yield connect("*:*")
    yield look()
