"""Editors of text: sed, awk, patch and their kin, in place or not."""

from __future__ import annotations

import re
from dataclasses import replace

from cmdop.policy.effects import Effects, create, modify, read
from cmdop.policy.invocation import Invocation, Options, Parsed, Unanalysable, Word
from cmdop.policy.vocabulary import command

_SED = Options("nErsuzb", "efl", ("quiet", "silent", "expression=", "file=", "in-place?", "regexp-extended", "separate", "null-data",
                                  "line-length=", "unbuffered", "posix", "sandbox", "debug", "help", "version", "follow-symlinks"))  # fmt: skip


@command("sed", "gsed")
def sed(call: Invocation) -> Effects:
    """Reads operands; -i rewrites them. Scripts that write or execute are not analysed."""
    words, in_place, backup = _sed_words(call)
    parsed = words.parse(_SED)
    if parsed.has("help", "version"):
        return
    in_place = in_place or parsed.has("in-place")
    backup = backup or any(word.text for word in parsed.values("in-place"))
    if parsed.has("f", "file"):
        raise Unanalysable("the script is in a file")
    scripts = [word.text for word in parsed.values("e", "expression")]
    operands = parsed.operands
    if not scripts:
        if not operands:
            raise Unanalysable("sed without a script")
        scripts, operands = [operands[0].text], operands[1:]
    if not parsed.has("sandbox") and not all(is_safe_sed(text) for text in scripts):
        raise Unanalysable("the sed script may write files or run commands")
    for word in operands:
        path = call.path(word)
        yield read(path)
        if in_place:
            yield modify(path, certain=False)
        if backup:
            yield create(path + "*", certain=False)


def _sed_words(call: Invocation) -> tuple[Invocation, bool, bool]:
    """The words without `-i`, which ends a cluster and may have a suffix; was it there, and with a suffix?"""
    words: list[Word] = [call.argv[0]]
    in_place = backup = False
    for at, word in enumerate(call.words):
        found = re.fullmatch(r"-([nErsuzb]*)i(.*)", word.text)
        if found and not any(each.text == "--" for each in call.words[:at]):
            in_place, backup = True, backup or bool(found[2])
            words += [Word(f"-{found[1]}")] if found[1] else []
        else:
            words.append(word)
    return replace(call, argv=tuple(words)), in_place, backup


_ADDRESS = r"(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/[IM]*)(?:\s*,\s*(?:[+~]?\d+|\$|/(?:[^/\\\n]|\\.)*/[IM]*))?\s*!?\s*"
_SUBSTITUTION = (
    r"s(?P<d>[/|#,@:!%~+])(?:(?!(?P=d))[^\\\n]|\\[^\n])*(?P=d)(?:(?!(?P=d))[^\\\n]|\\[^\n])*(?P=d)[gpIim0-9]*"
)
_TRANSLATION = r"y/(?:[^/\\\n]|\\.)*/(?:[^/\\\n]|\\.)*/"
_TEXT = r"[aic]\s*\\?\s*[^\n]*"
_COMMAND = re.compile(rf"\s*(?:{_ADDRESS})?\s*(?:\{{|\}}|{_SUBSTITUTION}|{_TRANSLATION}|{_TEXT}|[bt]\s*\w*|:\s*\w+|[pdqQDPNnhHgGxlz=]\s*\d*)?\s*(?:#[^\n]*)?(?:[;\n]|(?=\}})|$)")  # fmt: skip


def is_safe_sed(script: str) -> bool:
    """Does a script only print and change what passes through? `w`, `r`, `e` and `s///e` do more."""
    at = 0
    script = script.replace("{", "{;")
    while at < len(script):
        found = _COMMAND.match(script, at)
        if not found or found.end() == at:
            return False
        at = found.end()
    return True


@command("awk", "gawk", "mawk", "nawk")
def awk(call: Invocation) -> Effects:
    """Reads operands. Programs that write, read by name or run commands are not analysed."""
    parsed = call.parse(Options("", "Fv", ("field-separator=", "assign=", "sandbox", "version"), permute=False))
    if parsed.has("version"):
        return
    for word in parsed.values("v", "assign"):
        if not re.match(r"\w+=", word.text):
            raise Unanalysable("awk -v without an assignment")
    if not parsed.operands:
        raise Unanalysable("awk without a program")
    if not parsed.has("sandbox") and not is_safe_awk(parsed.operands[0].text):
        raise Unanalysable("the awk program may write files or run commands")
    for word in parsed.operands[1:]:
        if word.text != "-" and not re.match(r"[A-Za-z_]\w*=", word.text):
            yield read(call.path(word))


_AWK_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_AWK_PATTERN = re.compile(r"(^|[({;,!~&|\n])(\s*)/(?:[^/\\\n\"]|\\[^\n\"])+/")


def is_safe_awk(program: str) -> bool:
    """Is there nothing in it that opens a file, a pipe or a network connection, or runs a command?"""
    if re.search(r"system|getline|@", program):
        return False
    bare = _AWK_PATTERN.sub(r"\1\2 1 ", program)
    # Where a slash is left, a quote may stand in a pattern and what looks like a string be code.
    bare = bare if "/" in bare and '"' in bare else _AWK_STRING.sub("1", bare)
    # `>` compares, unless it follows print or printf.
    return "|" not in bare.replace("||", "") and not re.search(r"print[^;}\n]*>", bare)


@command("patch")
def patch(call: Invocation) -> Effects:
    """Changes what a patch names, which nobody reads here."""
    if any(word.text in ("--dry-run", "--version", "--help") for word in call.words):
        yield read(call.path(".") + "/**")
        return
    raise Unanalysable("which files a patch changes is not known")


@command("ed", "ex", "vi", "vim", "nvim", "nano", "emacs", "micro", "pico", "joe", "mcedit", "code", "subl", "vimtutor")
def editor(call: Invocation) -> Effects:
    """Opens an editor, which can do anything."""
    if [word.text for word in call.words] in (["--version"], ["--help"]):
        return
    raise Unanalysable(f"what {call.program} does is up to who uses it")
    yield


@command("dos2unix", "unix2dos")
def line_endings(call: Invocation) -> Effects:
    """Rewrites operands."""
    parsed = call.parse(Options("qkfo", "", ("keepdate", "quiet", "force", "oldfile", "keep-bom")))
    yield from rewritten(call, parsed)


def rewritten(call: Invocation, parsed: Parsed) -> Effects:
    """Operands that are read and changed."""
    for word in parsed.operands:
        yield read(call.path(word))
        yield modify(call.path(word), certain=False)
