"""What talks to other machines, to where, and what it leaves in files."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cmdop.policy.effects import Effects, connect, effect, external, look, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command

_DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "ftp": 21,
    "ftps": 990,
    "ssh": 22,
    "sftp": 22,
    "scp": 22,
    "ws": 80,
    "wss": 443,
}


def endpoint(url: str) -> str:
    """`host:port` of a URL; a host without a scheme means http."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        raise Unanalysable(f"where `{url}` leads is not known") from None
    if not parts.hostname or any(char in url for char in "{}[]$`"):
        raise Unanalysable(f"where `{url}` leads is not known")
    if port is None:
        raise Unanalysable(f"the scheme of `{url}` is not known")
    return f"{parts.hostname}:{port}"


def endpoint_of(host: str, port: str) -> str:
    """`host:port` if the host is a plain name or address, else anywhere."""
    return f"{host}:{port}" if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", host) else "*:*"


_CURL_LONG = (
    "request=", "header=", "data=", "data-raw=", "data-ascii=", "data-binary=", "data-urlencode=", "json=", "form=", "form-string=", "output=",
    "remote-name", "remote-name-all", "remote-header-name", "create-dirs", "output-dir=", "silent", "show-error", "fail", "fail-with-body", "location", "head", "include",
    "verbose", "user=", "user-agent=", "max-time=", "connect-timeout=", "retry=", "retry-delay=", "retry-connrefused", "retry-all-errors", "insecure", "compressed", "get", "url=",
    "write-out=", "upload-file=", "referer=", "http1.1", "http2", "no-progress-meter", "progress-bar", "ipv4", "ipv6", "range=", "cookie=", "cookie-jar=", "continue-at=",
    "max-redirs=", "proto=", "tlsv1.2", "tlsv1.3", "http1.0", "no-buffer", "basic", "digest", "oauth2-bearer=", "cacert=", "cert=", "key=", "interface=", "limit-rate=", "resolve=",
    "unix-socket=", "parallel", "version", "help", "netrc", "location-trusted", "dump-header=", "trace-ascii=", "post301", "noproxy=", "proxy=", "globoff")  # fmt: skip


@command("curl")
def curl(call: Invocation) -> Effects:
    """Connects to each URL; reads what it uploads, writes what it saves."""
    parsed = call.parse(Options("sSfLIivkgGNOJZ46#jnq012aBR", "XHdFouAmwTerbCcDEKxyYzQtPU", _CURL_LONG))
    if parsed.has("version", "help"):
        return
    if parsed.has("K", "config"):
        raise Unanalysable("what a file of options says is not known")
    urls = [*parsed.operands, *parsed.values("url")]
    if not urls:
        raise Unanalysable("curl without a URL")
    for word in urls:
        if word.globbed:
            raise Unanalysable("the URL is not known")
        if word.text.lower().startswith("file:"):
            raise Unanalysable("a file URL reads files of the machine")
        yield connect(endpoint(word.text))
    if parsed.has("L", "location", "location-trusted", "x", "proxy", "resolve"):
        yield connect("*:*", certain=False)
    for word in parsed.values("o", "output", "D", "dump-header", "c", "cookie-jar", "trace-ascii"):
        if word.text not in ("-", "/dev/null"):
            yield from write(call.path(word))
    if parsed.has("O", "remote-name", "J", "remote-name-all"):
        yield from write(call.path(Word("*", globbed=True)))
    bodies = parsed.values(
        "d",
        "data",
        "data-ascii",
        "data-binary",
        "F",
        "form",
        "json",
        "data-urlencode",
        "H",
        "header",
        "b",
        "cookie",
        "E",
        "cert",
        "key",
        "cacert",
    )
    yield from _uploads(call, [word.text for word in bodies])
    for word in parsed.values("T", "upload-file"):
        if word.text not in ("-", "."):
            yield read(call.path(word))


def _uploads(call: Invocation, bodies: list[str]) -> Effects:
    for body in bodies:
        _, at, path = body.partition("@")
        path = path.partition(";")[0]
        if at and (body.startswith("@") or "=@" in body) and path not in ("", "-"):
            yield read(call.path(path))


_WGET_LONG = ("quiet", "output-document=", "directory-prefix=", "tries=", "timeout=", "user-agent=", "no-verbose", "spider", "header=", "continue", "show-progress", "no-check-certificate",
              "recursive", "level=", "no-parent", "mirror", "page-requisites", "convert-links", "timestamping", "no-clobber", "post-data=", "post-file=", "method=", "body-data=", "body-file=", "password=", "user=",
              "max-redirect=", "server-response", "output-file=", "input-file=", "content-disposition", "version", "help", "progress=", "retry-connrefused", "wait=", "accept=", "reject=", "inet4-only")  # fmt: skip


@command(
    "wget",
    "aria2c",
    "axel",
    "lynx",
    "w3m",
    "links",
    "elinks",
    "http",
    "https",
    "xh",
    "httpie",
    "fetch",
    "youtube-dl",
    "yt-dlp",
    "grpcurl",
    "websocat",
    "wscat",
    "ab",
    "wrk",
    "hey",
    "k6",
    "vegeta",
    "siege",
    "newman",
    "lftp",
    "ftp",
    "tftp",
)
def wget(call: Invocation) -> Effects:
    """Connects to each URL and writes what it gets."""
    if [word.text for word in call.words] in (["--version"], ["--help"]):
        return
    if call.program != "wget":
        yield connect("*:*")
        raise Unanalysable(f"what {call.program} fetches and writes is not known")
    parsed = call.parse(Options("qcNvSd46rkpmHKLnxb", "OPtTUoielARQw", _WGET_LONG))
    for word in parsed.operands:
        yield connect(endpoint(word.text) if not word.globbed else "*:*")
    yield connect("*:*", certain=False)
    for word in parsed.values("post-file", "body-file", "i", "input-file"):
        yield read(call.path(word))
    outputs = parsed.values("O", "output-document", "o", "output-file")
    for word in outputs:
        if word.text != "-":
            yield from write(call.path(word))
    if not outputs and not parsed.has("spider"):
        folder = (parsed.values("P", "directory-prefix") or [Word(".")])[-1]
        yield from write(call.path(folder) + "/*")
    if parsed.has("e", "execute"):
        raise Unanalysable("wget -e sets any of its settings")


@command(
    "ping",
    "ping6",
    "traceroute",
    "tracepath",
    "mtr",
    "dig",
    "nslookup",
    "host",
    "whois",
    "nmap",
    "masscan",
    "arping",
    "fping",
    "hping3",
    "drill",
    "kdig",
    "delv",
    "iperf",
    "iperf3",
    "speedtest",
    "speedtest-cli",
    "testssl.sh",
    "sslscan",
    "nikto",
    "sqlmap",
    "hydra",
)
def probe(call: Invocation) -> Effects:
    """Asks a host or a name server; a name that is asked for may carry what was read."""
    yield connect("*:*")


@command(
    "ip",
    "ss",
    "netstat",
    "ifconfig",
    "route",
    "arp",
    "iwlist",
    "ethtool",
    "brctl",
    "bridge",
    "nmcli",
    "networkctl",
    "ifup",
    "ifdown",
    "dhclient",
    "ipcalc",
)
def interfaces(call: Invocation) -> Effects:
    """Shows interfaces and sockets; anything else changes them."""
    texts = [word.text for word in call.words]
    words = [text for text in texts if not text.startswith("-")]
    shows = {"show", "list", "ls", "lst", "get", "status", "monitor", "showmacs", "help"}
    match call.program:
        case "ss" | "netstat" | "ipcalc":
            if call.program == "ss" and any(re.fullmatch(r"-[a-zA-Z]*D.*|--diag.*", text) for text in texts):
                raise Unanalysable("ss writes what it sees into a file")
            changes = any(re.fullmatch(r"-[a-zA-Z]*K[a-zA-Z]*|--kill", text) for text in texts)
        case "ip":
            changes = any(text in ("-b", "-batch", "--batch") or text.startswith("-ba") for text in texts) or (
                len(words) > 1
                and not shows.intersection(words[1:2])
                and not (
                    words[0] in ("a", "addr", "address", "r", "route", "l", "link", "n", "neigh")
                    and words[1] in ("s", "sh", "sho")
                )
            )
        case "ifconfig" | "route" | "arp":
            changes = len(words) > (1 if call.program == "ifconfig" else 0) and not (
                call.program == "arp" and "-a" in texts
            )
        case "nmcli":
            wifi = words[:1] in (["device"], ["dev"], ["d"]) and words[1:2] == ["wifi"] and words[2:3] in ([], ["list"])
            changes = (
                len(words) > 1 and not shows.intersection(words[1:2]) and words[:1] not in (["monitor"],) and not wifi
            )
        case "bridge":
            changes = len(words) > 1 and not shows.intersection(words[1:2])
        case "networkctl":
            changes = bool(words) and words[0] not in ("list", "status", "lldp", "label", "cat")
        case "brctl":
            changes = bool(words) and words[0] not in ("show", "showmacs", "showstp")
        case "iwlist":
            changes = False
        case "ethtool":
            changes = any(
                re.fullmatch(r"-[A-Z].*|--(set|change|flash|reset|config|offline)\S*|-s|-p|-r|-f|-t|-e|-m", text)
                for text in texts
            )
        case _:
            changes = True
    if call.program == "nmcli" and any(text in ("-s", "--show-secrets", "show-password") for text in texts):
        yield external("interface/secrets")
    if changes:
        yield external(f"interface/{call.program}")
        return
    yield look()


@command("logger", "systemd-cat")
def logger(call: Invocation) -> Effects:
    """Adds a line to the journal; with a server or a socket it leaves the machine or goes elsewhere."""
    if call.program == "systemd-cat":
        raise Unanalysable("systemd-cat runs a command")
    parsed = call.parse(
        Options("disTVhe", "fnPputS", ("udp", "tcp", "server=", "port=", "file=", "priority=", "tag=", "socket=", "id?", "stderr", "journald?",
                                       "msgid=", "rfc3164", "rfc5424?", "size=", "no-act", "skip-empty", "prio-prefix", "octet-count", "sd-id=", "sd-param=", "help", "version"), permute=False)
    )  # fmt: skip
    for word in parsed.values("n", "server"):
        yield connect(endpoint_of(word.text, "514"))
    if parsed.has("u", "socket", "journald"):
        raise Unanalysable("logger writes to a socket of the caller's choice")
    for word in parsed.values("f", "file"):
        yield read(call.path(word))


def _target(word: Word) -> str:
    """`[user@]host[:path]` or a URL, as an endpoint of the ssh port."""
    host = word.text.split("://", 1)[-1].rpartition("@")[2].partition("/")[0].partition(":")[0]
    return endpoint_of(host, "22")


@command(
    "ssh",
    "mosh",
    "autossh",
    "telnet",
    "rlogin",
    "rsh",
    "plink",
    "nc",
    "ncat",
    "netcat",
    "nc.openbsd",
    "nc.traditional",
    "cryptcat",
    "dnscat2",
    "ngrok",
    "cloudflared",
    "localtunnel",
    "lt",
    "frpc",
    "chisel",
    "tailscale",
    "wg",
    "wg-quick",
    "openvpn",
    "smbclient",
    "mail",
    "mailx",
    "sendmail",
    "mutt",
    "swaks",
    "msmtp",
    "slack",
    "rdesktop",
    "xfreerdp",
    "vncviewer",
    "magic-wormhole",
    "wormhole",
    "croc",
    "syncthing",
    "ipfs",
)
def remote(call: Invocation) -> Effects:
    """Talks to another machine, and what happens there nobody here sees."""
    texts = [word.text for word in call.words]
    if texts in (["-V"], ["--version"], ["version"], ["--help"]) or (
        call.program in ("tailscale", "wg") and texts in (["status"], ["show"], ["ip"])
    ):
        yield look()
        return
    named = operands(
        call,
        frozenset(
            ["-p", "-i", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-e", "-m", "-w", "-W", "-E", "-S", "-B"]
        ),
    )
    yield connect(_target(named[0]) if call.program == "ssh" and named else "*:*")
    yield external(f"remote/{call.program}")
    if call.program in ("nc", "ncat", "netcat", "nc.openbsd", "nc.traditional") and any(
        re.fullmatch(r"-\w*l\w*", text) for text in texts
    ):
        yield effect("net.listen", "*:*")


@command("scp", "sftp", "rsync", "rdiff-backup", "unison", "rcp", "lsyncd")
def transfer(call: Invocation) -> Effects:
    """Copies files from or to another machine, or with rsync between directories."""
    texts = [word.text for word in call.words]
    if texts in (["--version"], ["-V"], ["--help"]):
        return
    valued = frozenset(
        [
            "-P",
            "-i",
            "-o",
            "-F",
            "-J",
            "-l",
            "-c",
            "-S",
            "-D",
            "-e",
            "--rsh",
            "--exclude",
            "--include",
            "--port",
            "--bwlimit",
            "--exclude-from",
            "--files-from",
            "--filter",
            "-f",
            "--log-file",
            "--rsync-path",
            "--password-file",
            "--backup-dir",
            "--suffix",
            "--compare-dest",
            "--link-dest",
            "--timeout",
            "--max-size",
            "--chmod",
            "--chown",
            "-B",
            "-T",
            "--temp-dir",
            "--partial-dir",
        ]
    )
    words = operands(call, valued)
    if any(text.startswith(("-e", "--rsh", "--rsync-path", "-S", "-o", "-F", "-D")) for text in texts):
        yield external(f"remote/{call.program}")
    is_remote = [word for word in words if re.match(r"[^/]*:", word.text)]
    if is_remote or call.program not in ("rsync",):
        for word in is_remote or [Word("*")]:
            yield connect(_target(word) if not word.globbed else "*:*")
        yield external(f"remote/{call.program}")
        for word in words:
            if word not in is_remote:
                yield read(call.path(word) + "/**", certain=False)
        return
    if len(words) < 2:
        for word in words:
            yield read(call.path(word))
        return
    *sources, target = words
    for word in sources:
        yield read(call.path(word) + "/**")
    if any(re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*|--dry-run", text) for text in texts):
        return
    place = call.path(target)
    yield effect("file.create", place.rstrip("/") + "/**")
    yield effect("file.modify", place.rstrip("/") + "/*/**", certain=False)
    if any(text.startswith(("--delete", "--remove-source-files")) for text in texts):
        yield effect("file.delete", place.rstrip("/") + "/**")
        for word in sources if "--remove-source-files" in texts else []:
            yield effect("file.delete", call.path(word) + "/**")
