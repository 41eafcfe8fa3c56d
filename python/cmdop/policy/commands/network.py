"""What talks to other machines, to where, and what it leaves in files."""

from __future__ import annotations

from urllib.parse import urlsplit

from cmdop.policy.effects import Effects, connect, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "ssh": 22, "ws": 80, "wss": 443}


def endpoint(url: str) -> str:
    """`host:port` of a URL; a host without a scheme means http."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname or any(char in url for char in "{}[]$`"):
        raise Unanalysable(f"where `{url}` leads is not known")
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    if port is None:
        raise Unanalysable(f"the scheme of `{url}` is not known")
    return f"{parts.hostname}:{port}"


_CURL_LONG = (
    "request=", "header=", "data=", "data-raw=", "data-binary=", "data-urlencode=", "json=", "form=", "output=",
    "remote-name", "silent", "show-error", "fail", "fail-with-body", "location", "head", "include", "verbose", "user=",
    "user-agent=", "max-time=", "connect-timeout=", "retry=", "retry-delay=", "insecure", "compressed", "get", "url=",
    "write-out=", "upload-file=", "referer=", "http1.1", "http2", "no-progress-meter", "ipv4", "ipv6", "range=", "cookie=",
)  # fmt: skip


@command("curl")
def curl(call: Invocation) -> Effects:
    """Connects to each URL; reads what it uploads, writes what it saves."""
    parsed = call.parse(Options("sSfLIivkGgNOZ46#", "XHdFouAmwTerbC", _CURL_LONG))
    urls = [*parsed.operands, *parsed.values("url")]
    if not urls:
        raise Unanalysable("curl without a URL")
    for word in urls:
        if word.globbed:
            raise Unanalysable("the URL is not known")
        if word.text.startswith("file:"):
            raise Unanalysable("a file URL reads files of the machine")
        yield connect(endpoint(word.text))
    if parsed.has("L", "location"):
        yield connect("*:*", certain=False)
    for word in parsed.values("o", "output"):
        if word.text not in ("-", "/dev/null"):
            yield from write(call.path(word))
    if parsed.has("O", "remote-name"):
        yield from write(call.path(Word("*", globbed=True)))
    yield from _uploads(
        call,
        [
            word.text
            for word in parsed.values("d", "data", "data-binary", "F", "form", "json", "data-urlencode", "H", "header")
        ],
    )
    for word in parsed.values("T", "upload-file"):
        yield read(call.path(word))


def _uploads(call: Invocation, bodies: list[str]) -> Effects:
    for body in bodies:
        _, at, path = body.partition("@")
        if at and (body.startswith("@") or "=@" in body):
            yield read(call.path(path.partition(";")[0]))


@command("wget")
def wget(call: Invocation) -> Effects:
    """Connects to each URL and writes what it gets."""
    parsed = call.parse(
        Options(
            "qcNvSd46",
            "OPtTUo",
            (
                "quiet",
                "output-document=",
                "directory-prefix=",
                "tries=",
                "timeout=",
                "user-agent=",
                "no-verbose",
                "spider",
                "header=",
                "continue",
                "show-progress",
                "no-check-certificate",
            ),
        )
    )
    for word in parsed.operands:
        yield connect(endpoint(word.text))
    yield connect("*:*", certain=False)
    outputs = parsed.values("O", "output-document", "o")
    for word in outputs:
        if word.text != "-":
            yield from write(call.path(word))
    if not outputs and not parsed.has("spider"):
        folder = (parsed.values("P", "directory-prefix") or [Word(".")])[-1]
        yield from write(call.path(folder) + "/*")


@command("ping", "traceroute", "tracepath", "dig", "nslookup", "host", "whois")
def probe(call: Invocation) -> Effects:
    """Asks a host or a name server."""
    yield connect("*:*")


@command("ip", "ss", "netstat", "ifconfig")
def interfaces(call: Invocation) -> Effects:
    """Shows interfaces and sockets; anything else changes them."""
    words = [word.text for word in call.words if not word.text.startswith("-")]
    changing = {"add", "del", "delete", "set", "change", "replace", "flush", "up", "down", "netns", "exec"}
    if (
        (call.program in ("ip", "ifconfig") and changing.intersection(words))
        or (call.program == "ifconfig" and len(words) > 1)
        or "-K" in [word.text for word in call.words]
    ):
        raise Unanalysable(f"{call.program} changes the network")
    yield from ()


@command("ssh", "scp", "sftp", "rsync", "nc", "ncat", "netcat", "telnet", "socat")
def remote(call: Invocation) -> Effects:
    """Talks to another machine, and what happens there nobody here sees."""
    yield connect("*:*")
    raise Unanalysable(f"what {call.program} does on the other machine is not known")
