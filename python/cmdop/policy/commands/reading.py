"""What only looks: at files, texts, trees and the machine."""

from __future__ import annotations

import re

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, connect, read, run, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command


@command(*["true", "false", ":", "pwd", "echo", "printf", "whoami", "id", "groups", "uname", "arch", "nproc", "basename", "dirname", "seq", "sleep", "yes", "expr", "which", "whereis", "whatis", "apropos", "man", "info", "type", "uptime", "tty", "locale", "getconf", "[", "test", "logname", "users", "cal", "factor", "numfmt", "tput", "clear", "reset", "cowsay", "figlet", "fortune", "lolcat", "banner", "ncal"])  # fmt: skip
def nothing(call: Invocation) -> Effects:
    """Prints or computes; what it says of files (`test -f`) is a look at names only."""
    if call.program == "printf" and any(word.text == "-v" for word in call.words):
        raise Unanalysable("printf -v sets a variable")
    acts = {
        "man": ("-P", "--pager", "-H", "--html", "-X", "-C", "--config-file", "--preprocessor"),
        "info": ("-o", "--output", "--dribble", "--restore", "--init-file"),
        # A cow is a program in Perl.
        "cowsay": ("-f",),
    }.get(call.program, ())
    for word in call.words:
        if acts and word.text.startswith(acts):
            raise Unanalysable(f"{call.program} {word.text} writes a file or runs a program")
    yield from ()


_PLAIN = [
    "cat",
    "tac",
    "nl",
    "head",
    "tail",
    "wc",
    "md5sum",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shasum",
    "b2sum",
    "b3sum",
    "cksum",
    "sum",
    "stat",
    "readlink",
    "realpath",
    "cmp",
    "comm",
    "cut",
    "paste",
    "fold",
    "rev",
    "od",
    "hexdump",
    "strings",
    "zcat",
    "bzcat",
    "xzcat",
    "zstdcat",
    "lz4cat",
    "zgrep",
    "bzgrep",
    "xzgrep",
    "zdiff",
    "zcmp",
    "jq",
    "xq",
    "less",
    "more",
    "most",
    "zless",
    "expand",
    "unexpand",
    "fmt",
    "pr",
    "join",
    "tsort",
    "look",
    "nm",
    "objdump",
    "readelf",
    "javap",
    "size",
    "file",
    "lsattr",
    "getfacl",
    "getfattr",
    "getcap",
    "identify",
    "mediainfo",
    "exiftool",
    "ffprobe",
    "pdfinfo",
    "pdftotext",
    "xmllint",
    "tldr",
    "zipinfo",
    "namei",
    "hd",
    "ccze",
    "csvlook",
    "csvstat",
    "csvcut",
    "ansi2txt",
    "cloc",
    "tokei",
    "scc",
    "sloccount",
    "wdiff",
    "colordiff",
    "icdiff",
    "pygmentize",
    "hexyl",
    "dust",
    "bat",
    "batcat",
    "delta",
]
_VALUED = {"shasum": "a", "head": "nc", "tail": "ncs", "stat": "c", "cut": "bcdf", "nl": "bdfhilnsvw", "od": "AjNStw", "hexdump": "nsef", "fold": "w", "paste": "d",
           "cmp": "in", "tac": "s", "strings": "net", "jq": "", "join": "12aetjvo", "fmt": "wgp", "pr": "DehilNnoSsWw", "file": "eFfmP"}  # fmt: skip
_WRITES = {
    "more": ("+",),
    "less": ("+", "-o", "-O", "--log-file", "--LOG-FILE", "-k", "--lesskey"),
    "bat": ("--pager", "--generate"),
    "batcat": ("--pager", "--generate"),
    "file": ("-C", "--compile"),
    "xmllint": ("--shell", "--output", "-o", "--c14n"),
    "exiftool": (
        "-@",
        "-delete_original",
        "-restore_original",
        "-stay_open",
        "-o",
        "-all",
        "-overwrite",
        "-w",
        "-tagsFromFile",
        "-execute",
        "-config",
        "-if",
    ),
    "pygmentize": ("-o", "-L", "-x"),
    **dict.fromkeys(("objdump", "nm", "size", "readelf"), ("--plugin", "@")),
    "ffprobe": ("-o", "-report"),
    "mediainfo": ("--LogFile",),
    "xq": ("-i", "--in-place"),
    "identify": ("-write", "-set", "-define", "@"),
    "delta": ("--pager",),
    "cloc": (
        "--out",
        "--report-file",
        "--sql",
        "--extract-with",
        "--unarchive",
        "--vcs",
        "--git",
        "--config",
        "--counted",
        "--ignored",
        "--found",
        "--categorized",
        "--write-lang-def",
        "--strip-",
        "--lang-no-ext",
    ),
    "scc": ("-o", "--output", "--format-multi"),
}
"""Options by which these do more than look."""
_SCHEMES = {
    **dict.fromkeys(("identify", "ffprobe"), r"[a-z]{2,}:"),
    **dict.fromkeys(("mediainfo", "xmllint", "exiftool", "pdfinfo"), r"[a-z]{2,}://"),
}
"""How operands begin that are no files."""


@command(*_PLAIN)
def reader(call: Invocation) -> Effects:
    """Reads its operands, or standard input. No option of it does more, but for those that are named."""
    program = call.program
    for word in call.words:
        if word.text.startswith(_WRITES.get(program, ("\0",))) or (
            program == "exiftool" and re.match(r"-[\w:]+=", word.text)
        ):
            raise Unanalysable(f"{program} {word.text} does more than look")
    if program == "pdftotext" and (not call.words or call.words[-1].text != "-"):
        raise Unanalysable("pdftotext writes a text beside what it reads, or its last operand")
    parsed = call.parse(Options("", _VALUED.get(program, ""), lenient=True))
    operands = parsed.operands
    if program in ("jq", "xq", "mlr", "zgrep", "bzgrep", "xzgrep") and not parsed.has("f", "from-file", "e"):
        operands = operands[1:]  # the first operand is the program or the pattern
    for word in operands:
        # Of a media or XML reader: a page of another machine, or a format that acts when it is read.
        if program in _SCHEMES and re.match(_SCHEMES[program], word.text):
            yield connect("*:*")
            raise Unanalysable(f"what {program} fetches or does to read `{word.text}` is not known")
        if word.text not in ("-", ""):
            yield read(call.path(word))
    yield from _named_by_options(call, parsed.values("f") if program == "file" else [])
    if parsed.has("c", "check") and program.endswith(("sum", "cksum")):
        yield read(beneath(call.path(".")), certain=False)


def _named_by_options(call: Invocation, words: list[Word]) -> Effects:
    """Files that an option names: what it is for nobody needs to know to see that it is read."""
    attached = (word.text.partition("=") for word in call.words if word.text.startswith("--") and not word.globbed)
    for word in (*words, *(Word(value) for _, _, value in attached if "/" in value and "://" not in value)):
        yield read(call.path(word), certain=False)


_GREP = Options("EFGPivwxcLlqsoHhnbTUZzarRIu0123456789", "eABCfmdD", lenient=True,
    long=("max-count=", "after-context=", "before-context=", "context=", "binary-files=", "include=", "exclude=", "exclude-dir=",
          "exclude-from=", "regexp=", "file=", "recursive", "dereference-recursive", "color?", "colour?", "directories=", "devices=", "label="))  # fmt: skip


@command("grep", "egrep", "fgrep", "zfgrep", "zegrep")
def grep(call: Invocation) -> Effects:
    """Reads operands, or trees with -r."""
    parsed = call.parse(_GREP)
    for word in parsed.values("f", "file", "exclude-from"):
        yield read(call.path(word))
    operands = parsed.operands if parsed.has("e", "f", "regexp", "file") else parsed.operands[1:]
    tree = parsed.has("r", "R", "recursive", "dereference-recursive")
    if tree and not operands:
        operands = (Word("."),)
    for word in operands:
        if word.text != "-":
            yield read(beneath(call.path(word)) if tree else call.path(word))


_SEARCHERS_RUN = (
    "--pre",
    "--hostname-bin",
    "-z",
    "--search-zip",
    "-x",
    "--exec",
    "-X",
    "--exec-batch",
    "--pager",
    "--output",
    "--ackrc",
)
"""Options of `rg`, `fd` and the like that run programs."""


@command("rg", "ag", "ack", "fd", "fdfind")
def search(call: Invocation) -> Effects:
    """Searches trees."""
    finds = call.program in ("fd", "fdfind")
    for at, word in enumerate(call.words):
        text = word.text
        if finds and text in ("-x", "--exec", "-X", "--exec-batch"):
            inner = [each for each in call.words[at + 1 :] if each.text != ";"]
            where = call.path(".")
            yield read(beneath(where))
            yield run([Word(beneath(where), globbed=True) if "{" in each.text else each for each in _placed(inner)])
            return
        cluster = not finds and re.fullmatch(r"-[a-zA-Z0-9]*z[a-zA-Z0-9]*", text)
        if any(text == option or text.startswith(option + "=") for option in _SEARCHERS_RUN) or cluster:
            raise Unanalysable(f"{call.program} {text} runs a program")
    parsed = call.parse(Options("", "efgtTmABCdEjrMI" if not finds else "etdESoc", lenient=True, long=("glob=", "type=", "regexp=", "file=", "max-count=", "context=", "after-context=", "before-context=", "max-depth=", "extension=", "exclude=", "sort=", "replace=", "iglob=")))  # fmt: skip
    operands = (
        parsed.operands
        if parsed.has("e", "f", "regexp", "file", "files", "type-list") and not finds
        else parsed.operands[1:]
    )
    for word in operands or (Word("."),):
        if word.text != "-":
            yield read(beneath(call.path(word)))


def _placed(words: list[Word]) -> list[Word]:
    return words if any("{" in word.text for word in words) else [*words, Word("{}")]


@command("ls", "dir", "vdir", "exa", "eza", "lsd", "du", "tree", "ncdu")
def listing(call: Invocation) -> Effects:
    """Lists directories and trees."""
    if call.program == "tree" and any(re.fullmatch(r"-[a-zA-Z]*R[a-zA-Z]*", word.text) for word in call.words):
        raise Unanalysable("tree -R writes a page into each directory")
    if call.program in ("tree", "ncdu") and any(word.text.startswith("-o") for word in call.words):
        raise Unanalysable(f"{call.program} -o writes a file")
    valued = {"ls": "ITw", "du": "BdtX", "tree": "LPIH"}.get(call.program, "")
    long = ("block-size=", "hide=", "ignore=", "indicator-style=", "sort=", "time=", "time-style=", "width=", "format=",
            "max-depth=", "threshold=", "exclude=", "color?", "recursive", "filelimit=", "exclude-from=", "files0-from=")  # fmt: skip
    parsed = call.parse(Options("", valued, long, lenient=True))
    tree = call.program in ("du", "tree", "ncdu") or parsed.has("R", "recursive")
    yield from _named_by_options(call, [])
    for word in parsed.operands or (Word("."),):
        path = call.path(word)
        yield read(beneath(path) if tree else path)


@command(
    "sort",
    "uniq",
    "diff",
    "shuf",
    "iconv",
    "xxd",
    "base64",
    "base32",
    "column",
    "tr",
    "split",
    "csplit",
    "tee",
    "yq",
    "sponge",
    "uuencode",
    "diff3",
    "sdiff",
    "vimdiff",
)
def texts(call: Invocation) -> Effects:
    """Reads operands; `-o`, a second operand or `tee` writes."""
    yield from _TEXTS[call.program](call) if call.program in _TEXTS else _unknown(call)


def _unknown(call: Invocation) -> Effects:
    raise Unanalysable(f"what {call.program} writes is not known")
    yield


def _sort(call: Invocation) -> Effects:
    long = ("ignore-leading-blanks", "dictionary-order", "ignore-case", "general-numeric-sort", "human-numeric-sort", "numeric-sort",
            "reverse", "version-sort", "key=", "field-separator=", "unique", "output=", "check?", "merge", "stable", "zero-terminated",
            "month-sort", "random-sort", "parallel=", "buffer-size=", "temporary-directory=")  # fmt: skip
    parsed = call.parse(Options("bdfgiMhnRrVcCmsuz", "kotST", long))
    for word in parsed.values("o", "output"):
        yield from write(call.path(word))
    yield from _reads(call, parsed.operands)


def _uniq(call: Invocation) -> Effects:
    long = (
        "count",
        "repeated",
        "all-repeated?",
        "group?",
        "unique",
        "ignore-case",
        "skip-fields=",
        "skip-chars=",
        "check-chars=",
        "zero-terminated",
    )
    parsed = call.parse(Options("cdDuiz", "fsw", long))
    for word in parsed.operands[1:]:
        yield from write(call.path(word))
    yield from _reads(call, parsed.operands[:1])


def _diff(call: Invocation) -> Effects:
    if any(word.text.startswith("--diff-program") for word in call.words):
        raise Unanalysable("diff runs another program")
    parsed = call.parse(
        Options(
            "",
            "CUWxXIL",
            (
                "exclude=",
                "label=",
                "context?",
                "unified?",
                "color?",
                "width=",
                "exclude-from=",
                "ignore-matching-lines=",
            ),
            lenient=True,
        )
    )
    if call.program == "sdiff" and parsed.has("o", "output"):
        raise Unanalysable("sdiff writes a file")
    tree = parsed.has("r", "recursive")
    yield from _named_by_options(call, [])
    for word in parsed.operands:
        if word.text != "-":
            path = call.path(word)
            yield read(beneath(path) if tree else path)


def _with_output(spec: Options, *, second: bool = False):
    def texts(call: Invocation) -> Effects:
        parsed = call.parse(spec)
        for word in parsed.values("o", "output"):
            yield from write(call.path(word))
        operands = parsed.operands
        if second and len(operands) > 1:
            yield from write(call.path(operands[1]))
            operands = operands[:1]
        yield from _reads(call, operands)

    return texts


def _reads(call: Invocation, words: tuple[Word, ...]) -> Effects:
    for word in words:
        if word.text not in ("-", ""):
            yield read(call.path(word))


def _stdin_only(call: Invocation) -> Effects:
    yield from ()


def _split(call: Invocation) -> Effects:
    long = (
        "lines=",
        "bytes=",
        "line-bytes=",
        "number=",
        "suffix-length=",
        "numeric-suffixes?",
        "additional-suffix=",
        "verbose",
        "digits=",
        "prefix=",
    )
    parsed = call.parse(Options("dex", "lbCnafk", long))
    yield from _reads(call, parsed.operands[:1])
    if call.program == "split":
        prefix = parsed.operands[1] if len(parsed.operands) > 1 else Word("x")
    else:
        prefix = (parsed.values("f", "prefix") or [Word("xx")])[-1]
    yield from write(call.path(prefix) + "*")


def _tee(call: Invocation) -> Effects:
    parsed = call.parse(Options("aip", "", ("append", "ignore-interrupts", "output-error?")))
    for word in parsed.operands:
        if not word.text.startswith("/dev/std"):
            yield from write(call.path(word))


def _yq(call: Invocation) -> Effects:
    parsed = call.parse(Options("", "oIps", ("output-format=", "input-format=", "indent="), lenient=True))
    for word in parsed.operands[1:]:
        yield read(call.path(word))
        if parsed.has("i", "inplace", "in-place"):
            yield from write(call.path(word))
    if any("load" in word.text for word in parsed.operands[:2]):
        raise Unanalysable("the expression of yq reads files")
    if parsed.has("s", "split-exp"):
        raise Unanalysable("yq splits into files")


_TEXTS = {
    "sort": _sort,
    "uniq": _uniq,
    "diff": _diff,
    "sdiff": _diff,
    "diff3": _diff,
    "shuf": _with_output(
        Options(
            "erz",
            "no",
            ("echo", "repeat", "zero-terminated", "head-count=", "output=", "input-range=", "random-source="),
        )
    ),
    "iconv": _with_output(Options("cls", "fto", ("from-code=", "to-code=", "output=", "list", "silent"))),
    "xxd": _with_output(
        Options("abeEipruv", "cglnos", ("plain", "include", "bits", "cols=", "len=", "seek=")), second=True
    ),
    "base64": _with_output(Options("di", "w", ("decode", "ignore-garbage", "wrap="))),
    "base32": _with_output(Options("di", "w", ("decode", "ignore-garbage", "wrap="))),
    "column": _with_output(
        Options(
            "tnxeJLd", "csNHRTWE", ("table", "separator=", "output-separator=", "json", "table-columns=", "columns=")
        )
    ),
    "tr": _stdin_only,
    "split": _split,
    "csplit": _split,
    "tee": _tee,
    "sponge": _tee,
    "yq": _yq,
}
