"""File utilities that change: create, copy, move, link, delete, and who may do what with a file."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from cmdop.policy.effects import Effects, chmod, chown, create, delete, external, modify, read, rename, write
from cmdop.policy.invocation import Invocation, Options, Parsed, Unanalysable, Word, escape
from cmdop.policy.vocabulary import command


def beneath(path: str) -> str:
    """The directory and everything in it."""
    return path.rstrip("/") + "/**"


def into(target: str, source: Word) -> str:
    """Where a source lands if the target is a directory."""
    name = posixpath.basename(source.pattern.rstrip("/")) or "**"
    return f"{target.rstrip('/')}/{name}"


@command("rm", "unlink")
def rm(call: Invocation) -> Effects:
    """Deletes."""
    long = (
        "force",
        "interactive?",
        "one-file-system",
        "no-preserve-root",
        "preserve-root?",
        "recursive",
        "dir",
        "verbose",
    )
    parsed = call.parse(Options("fiIrRdvuzn", "", long))
    for word in parsed.operands:
        yield delete(call.path(word))


@command("shred")
def shred(call: Invocation) -> Effects:
    """Overwrites what is there with noise, which is as final as a deletion; with -u it deletes, too."""
    long = ("force", "iterations=", "random-source=", "size=", "remove?", "verbose", "exact", "zero")
    parsed = call.parse(Options("fuvxz", "ns", long))
    for word in parsed.operands:
        path = call.path(word)
        yield delete(path)
        yield modify(path, certain=False)


@command("rmdir")
def rmdir(call: Invocation) -> Effects:
    """Deletes empty directories; with -p their parents, too."""
    parsed = call.parse(Options("pv", "", ("ignore-fail-on-non-empty", "parents", "verbose")))
    for word in parsed.operands:
        path = call.path(word)
        yield delete(path)
        if parsed.has("p", "parents") and not word.text.startswith("/"):
            while (word := Word(posixpath.dirname(word.text), word.globbed)).text:
                yield delete(call.path(word), certain=False)


@command("mkdir")
def mkdir(call: Invocation) -> Effects:
    """Creates directories; with -p what is there already is no error."""
    parsed = call.parse(Options("pvZ", "m", ("parents", "verbose", "mode=")))
    parents = parsed.has("p", "parents")
    for word in parsed.operands:
        if parents:
            yield from _directories(call, call.path(word))
        else:
            yield create(call.path(word))


def _directories(call: Invocation, path: str) -> Effects:
    """A directory and those above it that are missing. The working directory is there, and so is a workspace."""
    there = [f"{escape(directory)}/" for directory in (call.cwd, *call.workspaces)]
    while path not in ("/", "") and not any(directory.startswith(f"{path}/") for directory in there):
        yield create(path, certain=False)
        path = posixpath.dirname(path)


@command("touch")
def touch(call: Invocation) -> Effects:
    """Creates what is missing; new times alone are no effect."""
    parsed = call.parse(Options("acmh", "drt", ("no-create", "date=", "reference=", "time=", "no-dereference")))
    for word in parsed.operands:
        if not parsed.has("c", "no-create"):
            yield create(call.path(word), certain=False)


_COPY = ("archive", "backup?", "force", "interactive", "link", "dereference", "no-clobber", "no-dereference", "preserve?",
         "no-preserve=", "parents", "recursive", "reflink?", "remove-destination", "symbolic-link", "suffix=",
         "target-directory=", "no-target-directory", "update?", "verbose", "one-file-system", "strip-trailing-slashes")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Landing:
    """Sources and where they land."""

    sources: tuple[Word, ...]
    target: Word
    inside: bool | None
    """True if they land in the target, False if at it, None if only the machine can say: is it a directory?"""


def _landing(parsed: Parsed) -> _Landing:
    directory = parsed.values("t", "target-directory")
    if directory:
        return _Landing(parsed.operands, directory[-1], inside=True)
    if len(parsed.operands) < 2:
        raise Unanalysable("source or target is missing")
    *sources, target = parsed.operands
    if parsed.has("T", "no-target-directory"):
        return _Landing(tuple(sources), target, inside=False)
    is_directory = target.text.endswith("/") or posixpath.basename(target.text) in (".", "..")
    return _Landing(tuple(sources), target, inside=True if is_directory or len(sources) > 1 else None)


def _lands(call: Invocation, landing: _Landing, source: Word, *, tree: bool, replaces: bool = False) -> Effects:
    """Creates or overwrites what a source becomes, with its mode and owner if it replaces what is there.

    Where the place itself is in doubt nothing is certain, not even that one of the two happens: a creation
    and a change with the same target would say that (`write`).
    """
    to = call.path(landing.target)
    place = into(to, source)
    if tree:
        yield create(beneath(to), certain=False)
        where = to if landing.inside is False else place
        yield modify(where, certain=False)
        yield modify(f"{where.rstrip('/')}/*/**", certain=False)
        if landing.inside is None:
            yield modify(to, certain=False)
        changed = (where, to) if landing.inside is None else (where,)
    elif landing.inside is None:
        if landing.target.globbed or source.globbed:
            yield create(beneath(to), certain=False)
        else:
            # One of the two, and by patterns, so that neither makes a pair with its change.
            yield create(f"{to}*", certain=False)
            yield create(f"{place}*", certain=False)
        yield modify(to, certain=False)
        yield modify(place, certain=False)
        changed = (to, place)
    else:
        changed = (place if landing.inside else to,)
        yield from write(changed[0])
    if replaces:
        for path in changed:
            yield chmod(path, certain=False)
            yield chown(path, certain=False)


def _backups(call: Invocation, landing: _Landing, parsed: Parsed) -> Effects:
    """What was there stays under another name: `x~`, `x.~1~`, or with the suffix that is told."""
    if not parsed.has("b", "backup", "S", "suffix"):
        return
    to = call.path(landing.target)
    if landing.inside is not True:
        yield from write(to + "*")
    if landing.inside is not False:
        for source in landing.sources:
            yield from write(into(to, source) + "*")


@command("cp")
def cp(call: Invocation) -> Effects:
    """Reads sources; creates or overwrites the target, or what lands in it."""
    parsed = call.parse(Options("abdfHilLnPpRrsTuvxZ", "St", _COPY))
    tree = parsed.has("a", "r", "R", "archive", "recursive")
    landing = _landing(parsed)
    for source in landing.sources:
        path = call.path(source)
        yield read(beneath(path) if tree else path)
        yield from _lands(call, landing, source, tree=tree, replaces=parsed.has("remove-destination"))
    if parsed.has("parents"):
        # Each lands under its whole path.
        yield create(beneath(call.path(landing.target)), certain=False)
        yield modify(f"{call.path(landing.target).rstrip('/')}/*/**", certain=False)
    yield from _backups(call, landing, parsed)


@command("install")
def install(call: Invocation) -> Effects:
    """Copies with a mode; with -d it makes directories, with -D those that the target lacks."""
    long = (
        "directory",
        "mode=",
        "owner=",
        "group=",
        "target-directory=",
        "no-target-directory",
        "verbose",
        "compare",
        "preserve-timestamps",
        "backup?",
        "suffix=",
    )
    parsed = call.parse(Options("bcCdDpTv", "gmoSt", long))
    if parsed.has("s", "strip", "o", "owner", "g", "group"):
        yield external("privilege/install")
    if any(re.fullmatch(r"0?[2-7]\d{3}|.*[+=][^,]*s.*", word.text) for word in parsed.values("m", "mode")):
        yield external("privilege/setuid")
    if parsed.has("d", "directory"):
        for word in parsed.operands:
            yield from _directories(call, call.path(word))
        return
    landing = _landing(parsed)
    if parsed.has("D"):
        to = call.path(landing.target)
        yield from _directories(call, to if landing.inside else posixpath.dirname(to))
    for source in landing.sources:
        yield read(call.path(source))
        yield from _lands(call, landing, source, tree=False, replaces=True)
    yield from _backups(call, landing, parsed)


@command("mv")
def mv(call: Invocation) -> Effects:
    """Takes sources away; creates or overwrites the target, or what lands in it.

    Not every host can tell a move from a deletion and a creation, so either declaration must do.
    """
    parsed = call.parse(Options("bfinTuvZ", "St", _COPY))
    landing = _landing(parsed)
    for source in landing.sources:
        yield rename(call.path(source), certain=False)
        yield delete(call.path(source), certain=False)
        yield from _lands(call, landing, source, tree=True, replaces=True)
    yield from _backups(call, landing, parsed)


@command("ln")
def ln(call: Invocation) -> Effects:
    """Creates links; with -f it replaces what is there."""
    parsed = call.parse(
        Options(
            "bdfFinLPrsTv",
            "St",
            ("symbolic", "force", "relative", "no-dereference", "target-directory=", "no-target-directory", "verbose"),
        )
    )
    if not parsed.has("s", "symbolic"):
        raise Unanalysable("a hard link gives a file a second name that no region shows")
    alone = len(parsed.operands) == 1 and not parsed.has("t", "target-directory")
    landing = _Landing(parsed.operands, Word("."), inside=True) if alone else _landing(parsed)
    to = call.path(landing.target)
    for source in landing.sources:
        place = into(to, source)
        if parsed.has("f", "force"):
            yield from _lands(call, landing, source, tree=False)
        elif landing.inside is None:
            yield create(to, certain=False)
            yield create(place, certain=False)
        else:
            yield create(place if landing.inside else to)


@command("chmod")
def change_mode(call: Invocation) -> Effects:
    """Changes permission bits. One that lends the rights of an owner or a group is privilege."""
    options = (
        "-R",
        "--recursive",
        "-v",
        "-c",
        "-f",
        "--verbose",
        "--changes",
        "--silent",
        "--quiet",
        "--preserve-root",
    )
    clusters = [word for word in call.words if re.fullmatch(r"-[Rvcf]+", word.text)]
    words = [word for word in call.words if word.text not in options and word not in clusters and word.text != "--"]
    tree = any(word.text == "--recursive" or (word in clusters and "R" in word.text) for word in call.words)
    if any(word.text.startswith("--reference=") for word in words):
        raise Unanalysable("which mode a reference has is not known")
    if any(word.text.startswith("--") for word in words):
        raise Unanalysable("an option of chmod is not known")
    if words and re.fullmatch(r"[2-7]\d{3}|0[2-7]\d{3}|.*[+=][^,]*s.*", words[0].text):
        yield external("privilege/setuid")
    for word in words[1:]:
        path = call.path(word)
        yield chmod(beneath(path) if tree else path)


@command("chown", "chgrp")
def change_owner(call: Invocation) -> Effects:
    """Changes owner or group, which takes the rights of root."""
    long = (
        "changes",
        "silent",
        "quiet",
        "no-dereference",
        "dereference",
        "recursive",
        "verbose",
        "preserve-root",
        "no-preserve-root",
        "from=",
    )
    parsed = call.parse(Options("cfhRvHLP", "", long))
    yield external(f"privilege/{call.program}")
    tree = parsed.has("R", "recursive")
    for word in parsed.operands[1:]:
        path = call.path(word)
        yield chown(beneath(path) if tree else path)


@command("truncate")
def truncate(call: Invocation) -> Effects:
    """Cuts or extends files."""
    parsed = call.parse(Options("co", "rs", ("no-create", "size=", "reference=", "io-blocks")))
    for word in parsed.operands:
        yield from write(call.path(word))


@command("dd")
def dd(call: Invocation) -> Effects:
    """Reads `if=`, writes `of=`."""
    for word in call.words:
        key, _, value = word.text.partition("=")
        if key == "if":
            yield read(call.path(value))
        elif key == "of" and value != "/dev/null":
            yield from write(call.path(value))
        elif key not in ("bs", "ibs", "obs", "cbs", "count", "skip", "seek", "conv", "status", "iflag", "oflag"):
            raise Unanalysable(f"dd {key} is not known")


@command("fallocate")
def fallocate(call: Invocation) -> Effects:
    """Reserves room for a file; with -p, -c or -z what was in it is gone."""
    parsed = call.parse(Options("cdpzinxvw", "lo", ("collapse-range", "dig-holes", "punch-hole", "zero-range", "insert-range", "keep-size",
                                                   "posix", "verbose", "length=", "offset=")))  # fmt: skip
    for word in parsed.operands:
        yield from write(call.path(word))


@command("mkfifo", "mknod")
def mkfifo(call: Invocation) -> Effects:
    """Makes a pipe; a device opens the kernel to whoever may open the file."""
    parsed = call.parse(Options("Z", "m", ("mode=", "context?")))
    operands = parsed.operands
    if call.program == "mknod":
        if [word.text for word in operands[1:]] != ["p"]:
            yield external("privilege/device")
        operands = operands[:1]
    for word in operands:
        yield create(call.path(word))


@command("sync")
def sync(call: Invocation) -> Effects:
    """Has what was written reach the disk."""
    call.parse(Options("df", "", ("data", "file-system", "version", "help")))
    yield from ()


@command("mktemp")
def mktemp(call: Invocation) -> Effects:
    """Creates a file or directory under a name that nobody else uses: the template's, with its last X replaced."""
    parsed = call.parse(Options("dqut", "p", ("directory", "tmpdir?", "suffix=", "quiet", "dry-run")))
    common = call.env.get("TMPDIR", "/dev/shm").rstrip("/") or "/tmp"
    given = parsed.values("p", "tmpdir")
    within = given[-1] if given else None
    template = parsed.operands[0] if parsed.operands else Word("tmp.XXXXXXXXXX")
    if template.globbed or len(parsed.operands) > 1 or (within is None and parsed.has("tmpdir")):
        raise Unanalysable("where mktemp creates is not known")
    name = re.sub(r"X{3,}(?!.*X{3})", "*", escape(template.text)) + escape(
        "".join(word.text for word in parsed.values("suffix"))
    )
    if within is not None:
        yield create(f"{call.path(within).rstrip('/')}/{name}", certain=False)
    elif parsed.operands and not parsed.has("t"):
        yield create(call.path(Word(name, globbed=True)), certain=False)
    else:
        yield create(f"{common}/{name}" if parsed.operands else f"{common}/*", certain=False)
