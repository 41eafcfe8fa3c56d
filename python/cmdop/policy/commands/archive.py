"""Archives and compression: what is packed, what is unpacked, and to where."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, create, delete, modify, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

_COMPRESS = Options("cdfklnNqrtvzT0123456789", "So", (
    "output=", "ultra", "long?", "stdout", "to-stdout", "decompress", "uncompress", "force", "keep", "list", "test", "fast", "best", "verbose", "quiet", "recursive", "threads=", "rm"))  # fmt: skip


@command(
    "gzip",
    "gunzip",
    "bzip2",
    "bunzip2",
    "xz",
    "unxz",
    "zstd",
    "unzstd",
    "lz4",
    "pigz",
    "unlzma",
    "lzma",
    "compress",
    "uncompress",
    "brotli",
)
def compress(call: Invocation) -> Effects:
    """Replaces each file by its compressed or plain form."""
    parsed = call.parse(_COMPRESS)
    if parsed.has("r", "recursive"):
        raise Unanalysable("which files of a tree it replaces is not known")
    outputs = parsed.values("o", "output")
    if outputs and call.program not in ("zstd", "unzstd", "brotli"):
        raise Unanalysable(f"{call.program} has no option -o")
    for word in outputs:
        if word.text not in ("-", "/dev/null"):
            yield from write(call.path(word))
    for word in parsed.operands:
        path = call.path(word)
        yield read(path)
        if parsed.has("c", "stdout", "to-stdout", "l", "list", "t", "test"):
            continue
        if outputs:
            if parsed.has("rm"):
                yield delete(path)
            continue
        yield create(path + ".*", certain=False)
        yield create(posixpath.splitext(path)[0], certain=False)
        if parsed.has("rm") or (
            not parsed.has("k", "keep") and call.program not in ("zstd", "unzstd", "lz4", "brotli")
        ):
            yield delete(path)


_TAR = Options("cxtruAdzjJaZvkpPhlmnOSsUwW", "fCTXbgLNK", (
    "create", "extract", "get", "list", "append", "update", "file=", "directory=", "gzip", "bzip2", "xz", "zstd", "auto-compress", "verbose", "exclude=",
    "exclude-vcs", "strip-components=", "transform=", "wildcards", "no-same-owner", "no-same-permissions", "same-owner", "preserve-permissions", "overwrite",
    "keep-old-files", "keep-newer-files", "skip-old-files", "to-stdout", "files-from=", "exclude-from=", "one-file-system", "numeric-owner", "owner=", "group=",
    "mode=", "mtime=", "sort=", "totals", "test-label", "delete", "diff", "compare", "absolute-names", "recursion", "no-recursion", "dereference", "sparse",
    "acls", "xattrs", "selinux", "anchored", "unlink-first", "remove-files", "no-xattrs", "warning="))  # fmt: skip


@command("tar", "gtar", "bsdtar")
def tar(call: Invocation) -> Effects:
    """Packs, lists or unpacks. What an archive holds lands beneath the directory, and replaces what is there."""
    if [word.text for word in call.words] in (["--version"], ["--help"]):
        return
    parsed = _tar_words(call).parse(_TAR)
    archives = [word for word in parsed.values("f", "file") if word.text != "-"]
    for word in archives:
        if ":" in word.text.partition("/")[0]:
            raise Unanalysable("the archive is on another machine")
    directory = list(parsed.values("C", "directory"))
    base = call.path(directory[-1]) if directory else call.path(".")
    inside = replace(call, cwd=base if directory else call.cwd)
    if parsed.has("x", "extract", "get"):
        for word in archives:
            yield read(call.path(word))
        if not parsed.has("O", "to-stdout"):
            yield create(beneath(base), certain=parsed.has("f", "file") and bool(directory))
            yield modify(f"{base.rstrip('/')}/*/**", certain=False)
        if parsed.has("P", "absolute-names", "U", "unlink-first"):
            raise Unanalysable("where it unpacks is up to the archive")
    elif parsed.has("c", "create"):
        for word in archives:
            yield from write(call.path(word))
        for word in parsed.operands:
            yield read(beneath(inside.path(word)))
            if parsed.has("remove-files"):
                yield delete(inside.path(word))
    elif parsed.has("t", "list", "d", "diff", "compare", "test-label"):
        for word in archives:
            yield read(call.path(word))
    elif parsed.has("r", "append", "u", "update", "A", "delete"):
        for word in archives:
            yield modify(call.path(word), certain=False)
        for word in parsed.operands:
            yield read(beneath(inside.path(word)))
    else:
        raise Unanalysable("what tar is to do is not said")


def _tar_words(call: Invocation) -> Invocation:
    """The old form without a dash: letters first, their values in order after them."""
    words = call.words
    if not words or words[0].text.startswith("-"):
        return call
    letters, rest, values = words[0].text, list(words[1:]), list[Word]()
    for letter in letters:
        values.append(Word(f"-{letter}"))
        if letter in _TAR.valued and rest:
            values.append(rest.pop(0))
    return replace(call, argv=(call.argv[0], *values, *rest))


@command("ar", "gcc-ar", "llvm-ar")
def library(call: Invocation) -> Effects:
    """Archives of object files: a letter says what is done, others how."""
    words = list(call.words)
    texts = [word.text for word in words]
    if texts in (["--version"], ["--help"], ["-V"]):
        return
    letters = words.pop(0).text.removeprefix("-") if words else ""
    done = re.match(r"[dmpqrtxs]", letters)
    if not done or not re.fullmatch(r"[dmpqrtxsacDfiNloOPuUvVST]+", letters) or not words or "T" in letters:
        raise Unanalysable("what ar is to do is not known")
    if set(letters) & set("abi") and done[0] in "rm":
        words.pop(0)
    if "N" in letters and words:
        words.pop(0)
    if not words:
        raise Unanalysable("which archive ar is about is not known")
    archive, members = call.path(words[0]), words[1:]
    yield read(archive, certain=False)
    if done[0] == "x":
        for word in members or [Word("*", globbed=True)]:
            yield from write(call.path(Word(posixpath.basename(word.text), word.globbed)))
    elif done[0] in "dmqrs":
        yield from write(archive)
        for word in members if done[0] in "qr" else []:
            yield read(call.path(word))


@command("cpio", "bsdcpio")
def cpio(call: Invocation) -> Effects:
    """`-o` packs the files whose names it reads into standard output or a file; `-t` lists; the rest unpacks."""
    parsed = call.parse(Options("0oitvVBcaLduR", "FHOEIC", ("create", "extract", "list", "null", "quiet", "verbose", "format=", "file=",
                                                           "reset-access-time", "dereference", "absolute-filenames", "no-absolute-filenames")))  # fmt: skip
    files = parsed.values("F", "file", "I")
    if any(":" in word.text for word in (*files, *parsed.values("O"))):
        raise Unanalysable("the archive is on another machine")
    if parsed.has("t", "list") and not parsed.has("o", "create"):
        for word in files:
            yield read(call.path(word))
    elif parsed.has("o", "create"):
        yield read(beneath(call.path(".")), certain=False)
        for word in (*files, *parsed.values("O")):
            yield from write(call.path(word))
    else:
        raise Unanalysable("what cpio unpacks, and to where, is up to the archive")


@command("jar")
def jar(call: Invocation) -> Effects:
    """Lists, packs or unpacks classes."""
    words = list(call.words)
    letters = words.pop(0).text.removeprefix("-") if words else ""
    if re.fullmatch(r"tv?f|tfv", letters) and words:
        yield read(call.path(words[0]))
    elif re.fullmatch(r"[cvf0Mm]*c[vf0]*", letters) and "f" in letters and "m" not in letters and words:
        yield from write(call.path(words[0]))
        yield read(beneath(call.path(".")))
    else:
        raise Unanalysable("what jar unpacks, and to where, is not known")


@command("unzip", "7z", "7za", "7zz", "unrar", "unar", "ditto")
def unpack(call: Invocation) -> Effects:
    """Unpacks archives of other kinds; listing one only reads it."""
    words = [word.text for word in call.words]
    listing = {
        "unzip": ("-l", "-v", "-t", "-Z", "-z", "-p"),
        "unrar": ("l", "v", "t", "lb"),
        "7z": ("l", "t", "i"),
        "7za": ("l", "t"),
        "7zz": ("l", "t"),
    }
    if words and words[0] in listing.get(call.program, ()):
        for word in call.words[1:2]:
            yield read(call.path(word))
        return
    if call.program == "unzip":
        parsed = call.parse(Options("aBCDfjKLMnoqTuUVWX:", "dxIOP", permute=True))
        to = call.path(parsed.values("d")[-1]) if parsed.has("d") else call.path(".")
        for word in parsed.operands[:1]:
            yield read(call.path(word))
        yield from _unpacked(to, certain=parsed.has("d"))
    elif call.program.startswith("7z") and words[:1] in (["x"], ["e"]):
        outputs = [Word(text[2:]) for text in words if text.startswith("-o") and len(text) > 2]
        to = call.path(outputs[-1]) if outputs else call.path(".")
        yield from _unpacked(to, certain=bool(outputs))
    else:
        raise Unanalysable(f"what {call.program} unpacks, and to where, is not known")


def _unpacked(to: str, *, certain: bool) -> Effects:
    yield create(beneath(to), certain=certain)
    yield modify(f"{to.rstrip('/')}/*/**", certain=False)


@command("zip")
def zip_files(call: Invocation) -> Effects:
    """Packs files; -m takes them away."""
    parsed = call.parse(
        Options(
            "rqvjujoDXy0123456789glFSTd@Amfu",
            "xinPbts",
            ("recurse-paths", "quiet", "junk-paths", "exclude=", "include=", "verbose", "move", "delete", "update", "freshen"),
        )
    )  # fmt: skip
    if parsed.has("T", "@"):
        raise Unanalysable("zip runs a test command, or packs what it reads the names of")
    if parsed.has("d", "delete"):
        for word in parsed.operands[:1]:
            yield read(call.path(word))
            yield from write(call.path(word))
        return
    moves = parsed.has("m", "move")
    for word in parsed.operands[:1]:
        yield from write(call.path(word))
    for word in parsed.operands[1:]:
        path = call.path(word)
        yield read(beneath(path) if parsed.has("r", "recurse-paths") else path)
        if moves:
            yield delete(path)
