"""One program run as Rust resolved it, and how a command function reads its words."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

_SPECIAL = re.compile(r"[*?\\\x00-\x1f\x7f]")


def escape(text: str) -> str:
    """Literal text as a target of the effect language: wildcards and control characters escaped."""
    return _SPECIAL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 32 or m[0] == "\x7f" else "\\" + m[0], text)


class Unanalysable(Exception):
    """Nobody can say what an invocation does; the argument says why."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command line."""

    text: str
    """Literal text, or a pattern of the effect language if `globbed`."""
    globbed: bool = False

    @property
    def pattern(self) -> str:
        """The word as a pattern, whichever it is."""
        return self.text if self.globbed else escape(self.text)


@dataclass(frozen=True, slots=True)
class Options:
    """The options that a command function understands. Any other one is unanalysable.

    Attributes:
        flags: Short options without a value, one letter each.
        valued: Short options with a value.
        long: Long options without dashes; ``=`` at the end says that a value follows, ``?`` that
            one may be attached. Unambiguous abbreviations are understood, as in GNU getopt_long.
        permute: False if options end at the first operand (``sudo``, ``env``, ``xargs``).
        lenient: True for a program of which no option does more than look: unknown ones are flags.
    """

    flags: str = ""
    valued: str = ""
    long: Sequence[str] = ()
    permute: bool = True
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line taken apart."""

    options: Mapping[str, tuple[Word, ...]]
    """Values of each option seen, by its name without dashes; flags have an empty tuple."""
    operands: tuple[Word, ...]

    def has(self, *names: str) -> bool:
        """Was any of these options given?"""
        return any(name in self.options for name in names)

    def values(self, *names: str) -> list[Word]:
        """All values of these options."""
        return [value for name in names for value in self.options.get(name, ())]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One program run that a shell command would make."""

    argv: tuple[Word, ...]
    cwd: str = ""
    """Absolute working directory; empty if it cannot be known."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    stdin: str | None = None
    """Standard input, if the script itself provides it."""
    stdin_unknown: bool = False
    home: str = "/root"
    workspaces: tuple[str, ...] = ()
    """Directories of the host in which agents may change things."""

    @property
    def program(self) -> str:
        """Name of the program without its directory."""
        return posixpath.basename(self.argv[0].text)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words after the program."""
        return self.argv[1:]

    def path(self, word: Word | str) -> str:
        """A word as an absolute path target. Raises `Unanalysable` if the directory is unknown."""
        pattern = word.pattern if isinstance(word, Word) else escape(word)
        if not pattern:
            raise Unanalysable("an empty word stands where a path is due")
        if pattern.startswith("/"):
            return pattern
        if not self.cwd:
            raise Unanalysable("the working directory is not known")
        # Only a leading `./` is dropped: `..` after a pattern or a link is for the core to judge.
        pattern = re.sub(r"^(\./+)+|^\.$", "", pattern)
        return posixpath.join(escape(self.cwd), pattern).rstrip("/") or "/"

    def parse(self, spec: Options) -> Parsed:
        """Takes the words apart as GNU getopt_long would. Raises `Unanalysable` for unknown options."""
        return _Parser(self, spec).parse()


class _Parser:
    def __init__(self, call: Invocation, spec: Options) -> None:
        self.program = call.program
        self.spec = spec
        self.rest = list(call.words)
        self.options: dict[str, list[Word]] = {}
        self.operands: list[Word] = []

    def parse(self) -> Parsed:
        while self.rest:
            word = self.rest.pop(0)
            text = word.text
            if word.globbed and text[0] in "*?-" and not self.spec.lenient:
                self._unknown(f"`{text}` may expand to an option")
            if text == "--":
                self.operands += self.rest
                break
            if text.startswith("--"):
                self._long(text[2:])
            elif text.startswith("-") and len(text) > 1:
                self._cluster(text[1:])
            else:
                self.operands.append(word)
                if not self.spec.permute:
                    self.operands += self.rest
                    break
        return Parsed({name: tuple(values) for name, values in self.options.items()}, tuple(self.operands))

    def _cluster(self, letters: str) -> None:
        for index, letter in enumerate(letters):
            values = self.options.setdefault(letter, [])
            if letter in self.spec.flags:
                continue
            if letter not in self.spec.valued:
                if self.spec.lenient:
                    continue
                self._unknown(f"option -{letter} of {self.program} is not known")
            attached = letters[index + 1 :]
            values.append(Word(attached) if attached else self._next(f"-{letter}"))
            return

    def _long(self, text: str) -> None:
        name, equals, value = text.partition("=")
        known = {option.rstrip("=?"): option for option in self.spec.long}
        matches = [name] if name in known else [full for full in known if full.startswith(name)]
        if len(matches) != 1:
            if self.spec.lenient:
                self.options.setdefault(name, [])
                return
            self._unknown(f"option --{name} of {self.program} is not known")
        full = matches[0]
        values = self.options.setdefault(full, [])
        takes = known[full]
        if takes.endswith("="):
            values.append(Word(value) if equals else self._next(f"--{full}"))
        elif equals and not takes.endswith("?"):
            self._unknown(f"option --{full} of {self.program} takes no value")
        elif equals:
            values.append(Word(value))

    def _next(self, option: str) -> Word:
        if not self.rest:
            self._unknown(f"option {option} of {self.program} lacks its value")
        return self.rest.pop(0)

    def _unknown(self, why: str) -> NoReturn:
        raise Unanalysable(why)
