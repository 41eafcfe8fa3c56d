"""The system itself: disks, mounts, users, kernel, firewall, power, scheduled work."""

from __future__ import annotations

import re

from cmdop.policy.effects import Effects, effect, external, look, modify, read, write
from cmdop.policy.invocation import Invocation
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command


@command(*["mkfs", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mkfs.fat", "mkfs.ntfs", "mkfs.f2fs", "mkswap", "mke2fs", "wipefs", "blkdiscard", "sgdisk", "parted", "fdisk", "sfdisk", "gdisk", "cfdisk", "badblocks", "cryptsetup", "pvcreate", "pvremove", "vgcreate", "vgremove", "vgreduce", "lvcreate", "lvremove", "lvreduce", "lvextend", "lvresize", "mdadm", "zpool", "zfs", "btrfs", "resize2fs", "tune2fs", "fsck", "e2fsck", "xfs_repair", "hdparm", "nvme", "smartctl", "partprobe", "losetup", "dmsetup", "swapon", "swapoff", "fstrim", "eject", "diskutil", "fsck.ext4", "growpart", "debugfs", "dumpe2fs"])  # fmt: skip
def disks(call: Invocation) -> Effects:
    """Makes, changes or removes what lies on disks."""
    texts = [word.text for word in call.words]
    first = next((text for text in texts if not text.startswith("-")), "")
    lists = (
        texts in (["--version"], ["--help"], ["-V"])
        or (
            call.program in ("fdisk", "parted", "sfdisk", "gdisk", "sgdisk")
            and any(text in ("-l", "--list", "-p", "print", "--dump") for text in texts)
        )
        or (call.program in ("zpool", "zfs") and first in ("list", "status", "get", "iostat", "history"))
        or (call.program == "btrfs" and re.search(r"\b(show|list|usage|df|status|stats|info)\b", " ".join(texts[:3])))
        or (
            call.program == "smartctl"
            and not any(text.startswith(("-s", "-t", "--set", "--smart", "--test", "-X", "-o", "-S")) for text in texts)
        )
        or (call.program in ("swapon",) and any(text in ("--show", "-s", "--summary") for text in texts))
        or (call.program == "losetup" and texts in ([], ["-a"], ["-l"], ["--list"]))
        or (call.program in ("dumpe2fs",))
        or (call.program == "nvme" and first in ("list", "id-ctrl", "smart-log"))
        or (
            call.program == "mdadm"
            and any(text in ("--detail", "-D", "--examine", "-E", "--query") for text in texts)
            and not any(text.startswith(("--stop", "--zero", "--fail", "--remove", "--create")) for text in texts)
        )
    )
    if lists:
        yield look()
        return
    for word in operands(call):
        if word.text.startswith("/dev/"):
            yield modify(call.path(word))
    yield external(f"disk/{call.program}")


@command(
    "mount",
    "umount",
    "fusermount",
    "pivot_root",
    "sshfs",
    "exportfs",
    "automount",
    "udisksctl",
    "mount.nfs",
    "mount.cifs",
)
def mounts(call: Invocation) -> Effects:
    """Shows or changes what is mounted where."""
    texts = [word.text for word in call.words]
    if call.program == "mount" and (
        not texts or texts in (["-l"], ["--version"], ["-h"]) or (texts[:1] == ["-t"] and len(texts) == 2)
    ):
        yield look()
        return
    yield external(f"mount/{call.program}")


@command(
    *[
        "useradd",
        "userdel",
        "usermod",
        "adduser",
        "deluser",
        "groupadd",
        "groupdel",
        "groupmod",
        "addgroup",
        "delgroup",
        "gpasswd",
        "passwd",
        "chpasswd",
        "chage",
        "chsh",
        "chfn",
        "vipw",
        "vigr",
        "visudo",
        "pwconv",
        "grpconv",
        "newusers",
        "dscl",
        "dseditgroup",
        "sysadminctl",
        "pw",
        "faillock",
        "pam-auth-update",
        "authselect",
    ]
)
def users(call: Invocation) -> Effects:
    """Changes who may use the machine."""
    texts = [word.text for word in call.words]
    if (
        (
            call.program in ("chage", "passwd", "faillock")
            and texts[:1] in (["-l"], ["-S"], ["--status"], ["--list"])
            and call.program != "passwd"
        )
        or (call.program == "passwd" and texts[:1] in (["-S"], ["--status"]))
        or (call.program == "visudo" and texts[:1] == ["-c"])
    ):
        yield look()
        return
    yield external(f"users/{call.program}")


@command(*["modprobe", "insmod", "rmmod", "kmod", "depmod", "dkms", "sysctl", "kexec", "grub-install", "grub-mkconfig", "update-grub", "grub2-mkconfig", "update-initramfs", "mkinitcpio", "dracut", "efibootmgr", "bootctl", "ldconfig", "update-alternatives", "alternatives", "setenforce", "semanage", "setsebool", "restorecon", "chcon", "apparmor_parser", "aa-complain", "aa-disable", "aa-enforce", "setcap", "setfacl", "setfattr", "chattr", "hwclock", "ntpdate", "chronyc", "locale-gen", "dpkg-reconfigure", "debconf-set-selections", "update-ca-certificates", "update-ca-trust", "trust", "udevadm", "rfkill", "iwconfig", "iw", "wpa_cli", "netplan", "resolvectl", "systemd-resolve", "sysrc", "csrutil", "nvram", "pmset", "spctl", "systemsetup", "softwareupdate", "defaults", "tccutil", "scutil", "networksetup"])  # fmt: skip
def kernel(call: Invocation) -> Effects:
    """Shows or changes the kernel, the boot, security modules, attributes."""
    texts = [word.text for word in call.words]
    first = next((text for text in texts if not text.startswith("-")), "")
    asks = (
        texts in (["--version"], ["-V"], ["--help"])
        or (
            call.program == "sysctl"
            and not any(
                "=" in text
                or text in ("--system", "--load", "--write", "--file")
                or text.startswith(("--load", "--file"))
                or re.fullmatch(r"-[a-zA-Z]*[wpf].*", text)
                for text in texts
            )
            and bool(texts)
        )
        or (
            call.program in ("chronyc",)
            and first in ("tracking", "sources", "sourcestats", "activity", "ntpdata", "serverstats")
        )
        or (
            call.program in ("resolvectl", "systemd-resolve")
            and first in ("status", "statistics", "")
            and "--flush-caches" not in texts
        )
        or (
            call.program in ("update-alternatives", "alternatives")
            and texts[:1] in (["--list"], ["--display"], ["--query"], ["--get-selections"])
        )
        or (call.program in ("bootctl", "efibootmgr") and texts in ([], ["status"], ["list"], ["-v"]))
        or (call.program == "hwclock" and texts in ([], ["-r"], ["--show"]))
        or (call.program == "ldconfig" and texts == ["-p"])
        or (call.program in ("csrutil", "spctl") and first in ("status", "--status"))
        or (call.program in ("defaults",) and first == "read")
        or (call.program == "pmset" and texts[:1] == ["-g"])
        or (call.program == "semanage" and "-l" in texts)
        or (call.program == "iw" and first in ("list", "dev") and len(texts) == 1)
        or (call.program == "rfkill" and texts in ([], ["list"]))
        or (call.program == "udevadm" and first in ("info", "monitor"))
        or (call.program == "dkms" and first == "status")
        or (call.program == "setfacl" and "--test" in texts)
    )
    if asks:
        yield look()
        return
    if call.program in ("setfacl", "chattr", "setfattr", "chcon", "setcap", "restorecon"):
        for word in operands(call)[1:]:
            yield effect("file.chmod", call.path(word))
    yield external(f"system/{call.program}")


@command(
    *[
        "iptables",
        "ip6tables",
        "iptables-restore",
        "ip6tables-restore",
        "iptables-save",
        "ip6tables-save",
        "nft",
        "ufw",
        "firewall-cmd",
        "pfctl",
        "ebtables",
        "arptables",
        "ipset",
        "tc",
        "conntrack",
        "fail2ban-client",
    ]
)
def firewall(call: Invocation) -> Effects:
    """Shows or changes what may connect to what."""
    if _firewall_shows(call):
        yield look()
        return
    yield external(f"firewall/{call.program}")


_FIREWALL_SHOWS = {
    # Every option must be one of these.
    **dict.fromkeys(("iptables", "ip6tables", "ebtables", "arptables"), r"-[nvxLS]+|--(list|list-rules|numeric|verbose|exact|line-numbers|table=\w+|version)|-t|-V"),
    **dict.fromkeys(("iptables-save", "ip6tables-save"), r"-c|--counters|-t|--table=\w+|-V"),
    "firewall-cmd": r"--(state|list-[a-z-]+|get-[a-z-]+|info-[a-z-]+=.*|query-[a-z-]+=.*|zone=[\w-]+|permanent|version)",
    "pfctl": r"-s\w*|-v+|-q|-g|-P|-a|-T|-t",
    "nft": r"-[anysjNSpT]+|--(handle|json|stateless|numeric|terse|version)|-v|-V",
    "tc": r"-[a-z]+",
    "ipset": r"-(n|t|o|L|q|!)|--?(list|name|terse|output|quiet|sorted)",
    "conntrack": r"-[LGSCEo]|--(dump|get|stats|count|event|output|proto|src|dst|state)|-[psdfu]",
    "ufw": r"",
    "fail2ban-client": r"",
}  # fmt: skip
_FIREWALL_VERBS = {"ufw": ("status", "version", "show"), "fail2ban-client": ("status", "ping", "version", "get"), "nft": ("list",), "ipset": ("list", "test", "version")}  # fmt: skip


def _firewall_shows(call: Invocation) -> bool:
    program, texts = call.program, [word.text for word in call.words]
    words = [text for text in texts if not text.startswith("-")]
    options = [text for text in texts if text.startswith("-")]
    known = _FIREWALL_SHOWS.get(program)
    if known is None or any(";" in text for text in texts) or not all(re.fullmatch(known, each) for each in options):
        return False
    match program:
        case "ufw" | "fail2ban-client" | "nft":
            return (words[:1] != [] and words[0] in _FIREWALL_VERBS[program]) or texts in (
                ["--version"],
                ["-V"],
                ["-v"],
            )
        case "ipset":
            return (words[:1] != [] and words[0] in _FIREWALL_VERBS[program]) or options[:1] in (["-L"], ["--list"])
        case "tc":
            return len(words) == 1 or words[1:2] in (["show"], ["list"], ["ls"], ["help"])
        case "iptables-save" | "ip6tables-save":
            return True
        case "pfctl":
            return any(text.startswith("-s") for text in options) and ("-T" not in options or "show" in words)
        case "conntrack":
            return bool(options) and options[0] in ("-L", "-G", "-S", "-C", "-E", "--dump", "--get", "--stats", "--count", "--event")  # fmt: skip
        case "firewall-cmd":
            return bool(options)
        case _:
            return any(re.search(r"^-[nvx]*[LS]|^--list|^-V$|^--version$", text) for text in options)


@command("reboot", "shutdown", "poweroff", "halt", "init", "telinit", "wall", "write", "mesg", "rtcwake")
def power(call: Invocation) -> Effects:
    """Stops the machine, or talks to whoever uses it."""
    if call.program in ("shutdown", "reboot", "poweroff", "halt") and [word.text for word in call.words] in (
        ["--help"],
        ["--show"],
    ):
        return
    yield external(f"power/{call.program}")


@command("crontab", "atq", "atrm", "anacron", "fcrontab")
def scheduled(call: Invocation) -> Effects:
    """Lists or changes what is run later."""
    texts = [word.text for word in call.words]
    if (
        call.program == "atq"
        or (texts[:1] == ["-u"] and texts[2:] == ["-l"])
        or texts in (["-l"], ["-l", "-u", texts[-1]] if texts else [])
    ):
        yield look()
        return
    for word in operands(call, frozenset(["-u"])):
        if word.text != "-":
            yield read(call.path(word))
    yield from write("/var/spool/cron/crontabs/*")
    yield external("scheduled/crontab")


@command(
    "gpg",
    "gpg2",
    "openssl",
    "ssh-keygen",
    "ssh-add",
    "ssh-agent",
    "ssh-copy-id",
    "age",
    "sops",
    "pass",
    "keytool",
    "certbot",
    "security",
    "secret-tool",
    "kinit",
    "klist",
    "certutil",
    "htpasswd",
    "mkcert",
    "step",
    "acme.sh",
    "git-crypt",
    "keyctl",
    "bw",
    "rbw",
    "lpass",
    "gopass",
    "passage",
    "keyring",
    "kwallet-query",
    "chamber",
    "doppler",
    "infisical",
    "berglas",
    "akeyless",
    "conjur",
    "summon",
    "envchain",
    "teller",
    "dotenvx",
    "oathtool",
    "ykman",
    "mysql_config_editor",
    "git-credential-store",
    "git-credential-cache",
    "git-credential-libsecret",
    "git-credential-manager",
    "git-credential-osxkeychain",
    "docker-credential-pass",
    "docker-credential-secretservice",
    "docker-credential-osxkeychain",
    "docker-credential-desktop",
    "docker-credential-ecr-login",
    "docker-credential-gcloud",
    "docker-credential-gcr",
    "docker-credential-helper",
    "chezmoi",
)
def keys(call: Invocation) -> Effects:
    """Keys and certificates: looking at public ones is harmless, the rest is not followed."""
    texts = [word.text for word in call.words]
    first = texts[0] if texts else ""
    plain = r"-k|-v|--(list-keys|list-public-keys|fingerprint|with-\w+|keyid-format|batch|no-tty|verify|verbose)|[^-].*"
    strange = call.program in ("gpg", "gpg2") and not all(re.fullmatch(plain, text) for text in texts)
    if texts in (["--version"], ["version"], ["--help"], ["-V"]) or (
        not strange
        and call.program in ("gpg", "gpg2")
        and first in ("--list-keys", "-k", "--fingerprint", "--list-public-keys")
    ):
        yield look()
    elif call.program in ("gpg", "gpg2") and first == "--verify" and not strange:
        for word in call.words[1:]:
            yield read(call.path(word))
    elif (
        call.program == "openssl"
        and first in ("version", "list", "ciphers", "rand")
        and not any(text.startswith(("-out", "-rand", "-engine", "-provider", "-writerand")) for text in texts)
    ):
        yield look()
    elif (
        call.program == "openssl"
        and first in ("x509", "verify", "dgst", "md5", "sha256", "crl", "asn1parse", "req", "base64")
        and not any(
            text.startswith(
                (
                    "-out",
                    "-engine",
                    "-provider",
                    "-new",
                    "-newkey",
                    "-sign",
                    "-CAkey",
                    "-config",
                    "-key",
                    "-signkey",
                    "-CAcreateserial",
                    "-x509",
                    "-keyout",
                )
            )
            for text in texts
        )
    ):
        for at, word in enumerate(call.words[:-1]):
            if word.text in ("-in", "-CAfile"):
                yield read(call.path(call.words[at + 1]))
        for word in operands(call)[1:]:
            if re.search(r"[./]", word.text):
                yield read(call.path(word))
    elif (
        call.program == "ssh-keygen"
        and not any(text.startswith(("-D", "-w", "-y", "-p")) for text in texts)
        and any(re.fullmatch(r"-[lvE]*l[vf]*", text) for text in texts)
    ):
        for word in call.words:
            if not word.text.startswith("-") and "/" in word.text:
                yield read(call.path(word))
    elif call.program in ("ssh-add",) and texts in (["-l"], ["-L"]):
        yield look()
    else:
        yield external(f"keys/{call.program}")
