"""Small languages and catalogues: tables, translations, sums, what a library wants of a compiler."""

from __future__ import annotations

import re

from cmdop.policy.effects import Effects, connect, look, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command


@command("mlr")
def miller(call: Invocation) -> Effects:
    """Reads tables; its language writes files and runs programs, and some verbs write files."""
    texts = [word.text for word in call.words]
    if any(re.fullmatch(r"put|filter|tee|split|-I|-s|--(load|mload|prepipe|prepipex|gen-.*)", text) for text in texts):
        raise Unanalysable("mlr writes files or runs a program")
    if any("://" in text for text in texts):
        yield connect("*:*")
    named = [texts[at + 1] for at, text in enumerate(texts[:-1]) if text == "--from"]
    for text in (*named, *(text for text in texts if re.search(r"[./]", text) and not text.startswith("-"))):
        yield read(call.path(text), certain=False)


@command("msgfmt")
def message_catalogue(call: Invocation) -> Effects:
    """Compiles translations into `messages.mo`, or where `-o` says."""
    parsed = call.parse(
        Options(
            "cCfvV", "o", ("output-file=", "check", "check-format", "statistics", "use-fuzzy", "verbose", "version")
        )
    )
    for word in parsed.operands:
        yield read(call.path(word))
    for word in parsed.values("o", "output-file") or [Word("messages.mo")]:
        if word.text not in ("-", "/dev/null"):
            yield from write(call.path(word))


@command("bc")
def bc(call: Invocation) -> Effects:
    """Computes. Its language opens no file and runs nothing."""
    parsed = call.parse(Options("hilqsvwcCgPRxLz", "eEfIOSd", ("help", "interactive", "mathlib", "quiet", "standard", "version", "warn",
                                                             "expression=", "file=", "scale="), lenient=False))  # fmt: skip
    for word in (*parsed.operands, *parsed.values("f", "file")):
        yield read(call.path(word))


@command("pkg-config", "pkgconf")
def libraries(call: Invocation) -> Effects:
    """Says how a library is compiled and linked."""
    if any(word.text.startswith("--log") for word in call.words):
        raise Unanalysable("pkg-config writes a log")
    yield look()
