"""File utilities: what they read, write, move and delete."""

from __future__ import annotations

import posixpath
import re

from cmdop.policy.effects import Effects, chmod, chown, create, delete, modify, read, rename, run, write
from cmdop.policy.invocation import Invocation, Options, Parsed, Unanalysable, Word
from cmdop.policy.vocabulary import command


def beneath(path: str) -> str:
    """The directory and everything in it."""
    return path.rstrip("/") + "/**"


def into(target: str, source: Word) -> str:
    """Where a source lands if the target is a directory."""
    name = posixpath.basename(source.pattern.rstrip("/")) or "**"
    return f"{target.rstrip('/')}/{name}"


# --- only look -------------------------------------------------------------------------------


@command(
    "true",
    "false",
    ":",
    "pwd",
    "echo",
    "printf",
    "date",
    "whoami",
    "id",
    "groups",
    "hostname",
    "uname",
    "arch",
    "nproc",
)
@command(
    "basename",
    "dirname",
    "seq",
    "sleep",
    "yes",
    "expr",
    "which",
    "type",
    "uptime",
    "tty",
    "locale",
    "getconf",
    "[",
    "test",
)
def nothing(call: Invocation) -> Effects:
    """Prints or computes; what it says of files (`test -f`) is a look at names only."""
    if call.program == "printf" and any(word.text == "-v" for word in call.words):
        raise Unanalysable("printf -v sets a variable")
    if call.program == "date" and any(word.text.startswith(("-s", "--s", "-f", "--f")) for word in call.words):
        raise Unanalysable("date sets the clock or reads a file")
    if call.program == "hostname" and call.words and not call.words[0].text.startswith("-"):
        raise Unanalysable("hostname sets the name")
    yield from ()


_READERS = {
    "cat": Options(
        "AbeEnstTuv", long=("show-all", "number", "number-nonblank", "squeeze-blank", "show-ends", "show-tabs")
    ),
    "tac": Options("b", "s", ("before", "separator=")),
    "nl": Options("p", "bdfhilnsvw"),
    "head": Options("qvz0123456789", "nc", ("lines=", "bytes=", "quiet", "verbose")),
    "tail": Options(
        "fFqvz0123456789",
        "ncs",
        ("lines=", "bytes=", "follow?", "quiet", "verbose", "pid=", "retry", "sleep-interval="),
    ),
    "wc": Options("clmwL", "", ("bytes", "chars", "lines", "words", "max-line-length", "total=")),
    "md5sum": Options("bctwz", "", ("check", "binary", "text", "quiet", "status", "tag", "ignore-missing")),
    "stat": Options("fLt", "c", ("format=", "printf=", "file-system", "dereference", "terse")),
    "file": Options(
        "bhikLNrsSvzZ0", "eFfm", ("brief", "mime", "mime-type", "mime-encoding", "no-dereference", "dereference")
    ),
    "readlink": Options(
        "femnqsvz", "", ("canonicalize", "canonicalize-existing", "canonicalize-missing", "no-newline")
    ),
    "realpath": Options(
        "emLPqsz",
        "",
        ("canonicalize-existing", "canonicalize-missing", "relative-to=", "relative-base=", "no-symlinks"),
    ),
    "cmp": Options("bls", "in", ("print-bytes", "verbose", "quiet", "silent", "bytes=")),
    "comm": Options("123z", "", ("check-order", "nocheck-order", "output-delimiter=", "total")),
    "cut": Options(
        "nsz",
        "bcdf",
        ("bytes=", "characters=", "delimiter=", "fields=", "complement", "only-delimited", "output-delimiter="),
    ),
    "paste": Options("sz", "d", ("serial", "delimiters=")),
    "fold": Options("bs", "w", ("bytes", "spaces", "width=")),
    "column": Options("tnxeJLd", "csoNHRTWO", ("table", "separator=", "output-separator=", "json")),
    "rev": Options(),
    "od": Options("abcdfilosxv", "AjNStw", ("format=", "address-radix=", "skip-bytes=", "read-bytes=", "width?")),
    "hexdump": Options("bcdoxvC", "nsef"),
    "strings": Options("afw", "net", ("all", "bytes=", "radix=", "encoding=")),
    "zcat": Options("fv"),
    "jq": Options(
        "ncrjaSCMesR",
        "",
        (
            "raw-output",
            "compact-output",
            "null-input",
            "slurp",
            "exit-status",
            "sort-keys",
            "raw-input",
            "tab",
            "color-output",
            "monochrome-output",
        ),
    ),
}
for _digest in ("sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum", "b2sum", "cksum"):
    _READERS[_digest] = _READERS["md5sum"]


@command(*_READERS)
def reader(call: Invocation) -> Effects:
    """Reads its operands, or standard input."""
    parsed = call.parse(_READERS[call.program])
    operands = parsed.operands
    if call.program == "jq" and not parsed.has("f", "from-file"):
        operands = operands[1:]  # the first operand is the program
    for word in operands:
        if word.text != "-":
            yield read(call.path(word))
    if (parsed.has("c", "check") and call.program in ("md5sum", "cksum", "b2sum")) or (
        call.program.startswith("sha") and parsed.has("c", "check")
    ):
        raise Unanalysable("which files a check list names is not known")


_GREP = Options(
    "EFGPivwxcLlqsoHhnbTUZzarRIu0123456789",
    "eABCfmdD",
    (
        "extended-regexp", "fixed-strings", "basic-regexp", "perl-regexp", "ignore-case", "no-ignore-case",
        "invert-match", "word-regexp", "line-regexp", "count", "color?", "colour?", "files-without-match",
        "files-with-matches", "max-count=", "only-matching", "quiet", "silent", "no-messages", "byte-offset",
        "with-filename", "no-filename", "line-number", "null", "after-context=", "before-context=", "context=",
        "text", "binary-files=", "recursive", "dereference-recursive", "include=", "exclude=", "exclude-dir=",
        "exclude-from=", "regexp=", "file=", "line-buffered", "null-data",
    ),
)  # fmt: skip


@command("grep", "egrep", "fgrep")
def grep(call: Invocation) -> Effects:
    """Reads operands, or trees with -r."""
    parsed = call.parse(_GREP)
    pattern_given = parsed.has("e", "f", "regexp", "file")
    for word in parsed.values("f", "file", "exclude-from"):
        yield read(call.path(word))
    operands = parsed.operands if pattern_given else parsed.operands[1:]
    tree = parsed.has("r", "R", "recursive", "dereference-recursive")
    if tree and not operands:
        operands = (Word("."),)
    for word in operands:
        if word.text != "-":
            yield read(beneath(call.path(word)) if tree else call.path(word))


@command("ls", "dir", "vdir")
def ls(call: Invocation) -> Effects:
    """Lists directories."""
    long = (
        "all", "almost-all", "author", "escape", "block-size=", "color?", "directory", "classify?", "full-time",
        "group-directories-first", "no-group", "human-readable", "si", "hide=", "inode", "ignore=", "kibibytes",
        "dereference", "numeric-uid-gid", "literal", "indicator-style=", "quote-name", "reverse", "recursive",
        "size", "sort=", "time=", "time-style=", "width=", "context", "zero", "format=",
    )  # fmt: skip
    parsed = call.parse(Options("aAbBcCdDfFgGhHiklLmnNopqQrRsStuUvxXZ1", "ITw", long))
    tree = parsed.has("R", "recursive")
    for word in parsed.operands or (Word("."),):
        path = call.path(word)
        yield read(beneath(path) if tree else path)


@command("du", "tree")
def du(call: Invocation) -> Effects:
    """Walks trees."""
    if call.program == "tree":
        parsed = call.parse(
            Options("adflxhspugDFrtcUCnAS", "LPI", ("dirsfirst", "noreport", "filelimit=", "prune", "du"))
        )
    else:
        long = ("all", "apparent-size", "block-size=", "bytes", "total", "max-depth=", "human-readable", "si", "summarize",
                "threshold=", "time?", "exclude=", "one-file-system", "separate-dirs", "inodes", "null")  # fmt: skip
        parsed = call.parse(Options("0abchkmlsSxLPHD", "BdtX", long))
    for word in parsed.operands or (Word("."),):
        yield read(beneath(call.path(word)))


@command("df", "free", "lsblk", "mountpoint", "findmnt", "lscpu", "lsusb", "lspci", "vmstat", "iostat")
def machine(call: Invocation) -> Effects:
    """Says how the machine is."""
    yield from ()


@command("sort", "uniq", "diff")
def sorted_text(call: Invocation) -> Effects:
    """Reads operands; `sort -o` and `uniq`'s second operand write."""
    if call.program == "sort":
        long = ("ignore-leading-blanks", "dictionary-order", "ignore-case", "general-numeric-sort", "human-numeric-sort",
                "numeric-sort", "reverse", "version-sort", "key=", "field-separator=", "unique", "output=", "check?",
                "merge", "stable", "zero-terminated", "month-sort", "random-sort", "parallel=")  # fmt: skip
        parsed = call.parse(Options("bdfgiMhnRrVcCmsuz", "kotST", long))
        for word in parsed.values("o", "output"):
            yield from write(call.path(word))
        operands = parsed.operands
    elif call.program == "uniq":
        parsed = call.parse(
            Options("cdDuiz", "fsw", ("count", "repeated", "unique", "ignore-case", "skip-fields=", "skip-chars="))
        )
        operands = parsed.operands[:1]
        for word in parsed.operands[1:]:
            yield from write(call.path(word))
    else:
        long = ("brief", "report-identical-files", "context?", "unified?", "side-by-side", "recursive", "new-file", "ignore-case",
                "ignore-all-space", "ignore-space-change", "ignore-blank-lines", "color?", "exclude=", "text", "label=")  # fmt: skip
        parsed = call.parse(Options("qscuyrNibwBatTdpZE0123456789", "CUWxXIL", long))
        operands = parsed.operands
    for word in operands:
        if word.text != "-":
            path = call.path(word)
            yield read(beneath(path) if call.program == "diff" and parsed.has("r", "recursive") else path)


@command("tr")
def tr(call: Invocation) -> Effects:
    """Translates standard input."""
    yield from ()


@command("find")
def find(call: Invocation) -> Effects:
    """Walks roots; `-delete` and `-exec` act on what is found there, whatever the filters say."""
    words = list(call.words)
    while words and words[0].text in ("-H", "-L", "-P"):
        words.pop(0)
    roots: list[Word] = []
    while words and not words[0].text.startswith(("-", "(", "!")):
        roots.append(words.pop(0))
    regions = [beneath(call.path(root)) for root in roots or [Word(".")]]
    for region in regions:
        yield read(region)
    # Filters choose among what lies beneath the roots: then no effect is certain for all of it.
    filtered = any(word.text in _FIND_FILTERS for word in words)
    yield from _find_actions(call, words, regions, certain=not filtered)


_FIND_VALUED = frozenset(
    [
        "-name",
        "-iname",
        "-path",
        "-ipath",
        "-wholename",
        "-regex",
        "-iregex",
        "-type",
        "-xtype",
        "-size",
        "-mtime",
        "-atime",
        "-ctime",
        "-mmin",
        "-amin",
        "-cmin",
        "-newer",
        "-anewer",
        "-cnewer",
        "-maxdepth",
        "-mindepth",
        "-user",
        "-group",
        "-uid",
        "-gid",
        "-perm",
        "-links",
        "-inum",
        "-samefile",
        "-fstype",
        "-printf",
        "-regextype",
        "-used",
        "-newermt",
    ]
)
_FIND_PLAIN = frozenset(
    [
        "-print",
        "-print0",
        "-ls",
        "-prune",
        "-quit",
        "-empty",
        "-depth",
        "-d",
        "-mount",
        "-xdev",
        "-true",
        "-false",
        "-not",
        "-a",
        "-and",
        "-o",
        "-or",
        "-readable",
        "-writable",
        "-executable",
        "-nouser",
        "-nogroup",
        "-follow",
        "-daystart",
        "(",
        ")",
        "!",
        ",",
        "-noleaf",
        "-warn",
        "-nowarn",
    ]
)


_FIND_FILTERS = _FIND_VALUED - {"-printf", "-maxdepth"} | {
    "-empty",
    "-readable",
    "-writable",
    "-executable",
    "-prune",
    "!",
    "-not",
}


def _find_actions(call: Invocation, words: list[Word], regions: list[str], *, certain: bool) -> Effects:
    while words:
        test = words.pop(0).text
        if test in _FIND_VALUED and words:
            words.pop(0)
        elif test == "-delete":
            for region in regions:
                yield delete(region, certain=certain)
        elif test in ("-exec", "-execdir", "-ok", "-okdir"):
            inner: list[Word] = []
            while words and words[0].text not in (";", "+"):
                inner.append(words.pop(0))
            if not words:
                raise Unanalysable(f"{test} is not closed")
            words.pop(0)
            for region in regions:
                yield run([Word(region, globbed=True) if word.text == "{}" else _no_braces(word) for word in inner])
        elif test in ("-fprint", "-fprint0", "-fls", "-fprintf") and words:
            yield from write(call.path(words.pop(0)))
        elif test not in _FIND_PLAIN:
            raise Unanalysable(f"find {test} is not known")


def _no_braces(word: Word) -> Word:
    if "{}" in word.text:
        raise Unanalysable("find builds a word around what it found")
    return word


# --- change ----------------------------------------------------------------------------------


@command("rm", "unlink", "shred")
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
        path = call.path(word)
        yield create(path, certain=not parents)
        base = "" if word.text.startswith("/") else call.cwd
        while parents and (path := posixpath.dirname(path)) not in ("/", "", base):
            yield create(path, certain=False)


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


def _split(parsed: Parsed) -> tuple[tuple[Word, ...], Word]:
    target = parsed.values("t", "target-directory")
    if target:
        return parsed.operands, target[-1]
    if len(parsed.operands) < 2:
        raise Unanalysable("source or target is missing")
    return parsed.operands[:-1], parsed.operands[-1]


@command("cp")
def cp(call: Invocation) -> Effects:
    """Reads sources; creates or overwrites the target, or what lands in it."""
    parsed = call.parse(Options("abdfHilLnPpRrsTuvxZ", "St", _COPY))
    tree = parsed.has("a", "r", "R", "archive", "recursive")
    sources, target = _split(parsed)
    yield from _land(call, sources, target, tree=tree)


def _land(call: Invocation, sources: tuple[Word, ...], target: Word, *, tree: bool) -> Effects:
    to = call.path(target)
    for source in sources:
        path = call.path(source)
        yield read(beneath(path) if tree else path)
        places = (to, into(to, source))
        for place in places:
            yield from write(beneath(place) if tree else place)


@command("mv")
def mv(call: Invocation) -> Effects:
    """Takes sources away; creates or overwrites the target, or what lands in it."""
    parsed = call.parse(Options("bfinTuvZ", "St", _COPY))
    sources, target = _split(parsed)
    to = call.path(target)
    for source in sources:
        yield rename(call.path(source))
        for place in (to, into(to, source)):
            yield create(beneath(place), certain=False)
            yield modify(place, certain=False)


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
    operands = parsed.operands if len(parsed.operands) > 1 else (*parsed.operands, Word("."))
    to = call.path(operands[-1])
    for source in operands[:-1]:
        for place in (to, into(to, source)):
            yield from write(place)


@command("chmod")
def change_mode(call: Invocation) -> Effects:
    """Changes permission bits."""
    words = [
        word
        for word in call.words
        if word.text not in ("-R", "--recursive", "-v", "-c", "-f", "--verbose", "--changes", "--silent", "--quiet")
    ]
    tree = any(word.text in ("-R", "--recursive") for word in call.words)
    if any(word.text.startswith("--") for word in words):
        raise Unanalysable("an option of chmod is not known")
    for word in words[1:]:
        path = call.path(word)
        yield chmod(beneath(path) if tree else path)


@command("chown", "chgrp")
def change_owner(call: Invocation) -> Effects:
    """Changes owner or group."""
    parsed = call.parse(
        Options(
            "cfhRvHLP",
            "",
            ("changes", "silent", "quiet", "no-dereference", "dereference", "recursive", "verbose", "preserve-root"),
        )
    )
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


@command("tee")
def tee(call: Invocation) -> Effects:
    """Writes standard input to its operands."""
    parsed = call.parse(Options("aip", "", ("append", "ignore-interrupts")))
    for word in parsed.operands:
        if not word.text.startswith("/dev/"):
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


@command("mktemp")
def mktemp(call: Invocation) -> Effects:
    """Creates a file or directory under a name that nobody else uses."""
    parsed = call.parse(Options("dqut", "p", ("directory", "tmpdir?", "suffix=", "quiet", "dry-run")))
    if parsed.operands or parsed.has("p", "tmpdir"):
        raise Unanalysable("where mktemp creates is not known")
    yield create("/tmp/*", certain=False)


@command("gzip", "gunzip", "bzip2", "xz", "zstd")
def compress(call: Invocation) -> Effects:
    """Replaces each file by its compressed or plain form."""
    parsed = call.parse(
        Options(
            "cdfklnNqrtv0123456789",
            "S",
            (
                "stdout",
                "to-stdout",
                "decompress",
                "uncompress",
                "force",
                "keep",
                "list",
                "test",
                "fast",
                "best",
                "verbose",
                "quiet",
                "recursive",
            ),
        )
    )
    if parsed.has("r", "recursive"):
        raise Unanalysable("which files of a tree it replaces is not known")
    for word in parsed.operands:
        path = call.path(word)
        yield read(path)
        if parsed.has("c", "stdout", "to-stdout", "l", "list", "t", "test"):
            continue
        yield create(path + ".*", certain=False)
        yield create(posixpath.splitext(path)[0], certain=False)
        if not parsed.has("k", "keep"):
            yield delete(path)


@command("sed")
def sed(call: Invocation) -> Effects:
    """Reads operands; -i rewrites them. Scripts that write or execute are not analysed."""
    parsed = call.parse(
        Options(
            "nErsuz",
            "efl",
            (
                "quiet",
                "silent",
                "expression=",
                "file=",
                "in-place?",
                "regexp-extended",
                "separate",
                "null-data",
                "line-length=",
            ),
        )
        if not _in_place(call)
        else _SED_IN_PLACE
    )
    if parsed.has("f", "file"):
        raise Unanalysable("the script is in a file")
    scripts = [word.text for word in parsed.values("e", "expression")]
    operands = parsed.operands
    if not scripts:
        if not operands:
            raise Unanalysable("sed without a script")
        scripts, operands = [operands[0].text], operands[1:]
    if any(not _SAFE_SED.fullmatch(script) for script in scripts):
        raise Unanalysable("the sed script may write files or run commands")
    for word in operands:
        path = call.path(word)
        yield read(path)
        if _in_place(call):
            yield modify(path, certain=False)
            yield create(path + "*", certain=False)


def _in_place(call: Invocation) -> bool:
    return any(word.text.startswith(("-i", "--in-place", "-ni", "-Ei", "-ri", "-nEi")) for word in call.words)


_SED_IN_PLACE = Options(
    "nErsuzi",
    "efl",
    ("quiet", "silent", "expression=", "file=", "in-place?", "regexp-extended", "separate", "null-data"),
)

_ADDRESS = r"(?:\d+|\$|/(?:[^/\\\n]|\\.)*/I?)(?:,(?:\+?\d+|\$|/(?:[^/\\\n]|\\.)*/I?))?\s*!?\s*"
_COMMAND = r"(?:[pdqDPNn=hHgGx]|s([/|#,@])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gpiI0-9]*|y/(?:[^/\\\n]|\\.)*/(?:[^/\\\n]|\\.)*/)"
_SAFE_SED = re.compile(rf"\s*(?:{_ADDRESS})?{_COMMAND}\s*")
