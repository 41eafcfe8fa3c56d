"""Programs with verbs (`docker ps`, `kubectl delete`): which look, which contact, which change what is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmdop.policy.effects import Effects, connect, external, look
from cmdop.policy.invocation import Invocation, Unanalysable, Word
from cmdop.policy.secrecy import names_secret


@dataclass(frozen=True, slots=True)
class Verbs:
    """What the verbs of a program do. A verb is one word or several (`container ls`); the longest that fits counts."""

    party: str
    """Who is changed, as targets of `external` name it: ``docker``."""
    looks: str = ""
    """Verbs that only ask this machine, separated by ``|``."""
    asks: str = ""
    """Verbs that only ask another machine."""
    changes: str = ""
    """Verbs that change something outside of files."""
    valued: frozenset[str] = field(default_factory=frozenset[str])
    """Options before and after the verb that take the next word."""
    files: tuple[str, ...] = ()
    """Options by which a verb that looks writes a file or runs a program."""
    reveals: tuple[str, ...] = ()
    """Options by which a verb that looks shows secrets that it hides otherwise."""
    elsewhere: tuple[str, ...] = ()
    """Options before the verb that name another machine to ask."""

    def of(self, call: Invocation) -> str:
        """The verb's kind: ``looks``, ``asks``, ``changes``, or empty if it is not known.

        A verb that others begin with (`config`, `config set`) looks only if no word follows: that one may be a
        verb which nobody taught.
        """
        words = [word.text for word in operands(call, self.valued)]
        for length in range(min(4, len(words)), 0, -1):
            verb = " ".join(words[:length])
            for kind in ("looks", "asks", "changes"):
                if verb in getattr(self, kind).split("|"):
                    begins = kind == "looks" and len(words) > length and self._begins(verb)
                    return "" if begins else kind
        return ""

    def _begins(self, words: str) -> bool:
        """Do verbs of more words begin like this?"""
        return any(
            verb.startswith(f"{words} ") for kind in (self.looks, self.asks, self.changes) for verb in kind.split("|")
        )

    def _only_helps(self, call: Invocation) -> bool:
        """Is nothing asked for but help or a version? Behind operands `--help` may be another program's."""
        texts = [word.text for word in call.words]
        if texts[0] == "help" or (texts[0] == "version" and len(texts) == 1 and not self.of(call)):
            return True
        option = next((at for at, text in enumerate(texts) if text.startswith("-")), len(texts))
        if texts[option : option + 1] not in (["--help"], ["-h"], ["--version"], ["-help"], ["-version"]):
            return False
        verb = " ".join(texts[:option])
        known = (verb in kind.split("|") for kind in (self.looks, self.asks, self.changes))
        return option == 0 or (len(texts) == option + 1 and (any(known) or self._begins(verb)))

    def effects(self, call: Invocation) -> Effects:
        """What the call does, as far as its verb says it."""
        texts = [word.text for word in call.words]
        if not texts or self._only_helps(call):
            return
        kind = self.of(call)
        if _has(texts[: texts.index("--")] if "--" in texts else texts, self.elsewhere):
            yield connect("*:*")
        if kind in ("looks", "asks") and _has(texts, self.files):
            raise Unanalysable(f"{call.program} writes a file or runs a program")
        words = [word.text for word in operands(call, self.valued)]
        # Whatever such a verb is called: what nobody taught runs on a copy, which hides no answer.
        prints = kind == "" and names_secret(words[:3])
        prints = prints or (words[:1] == ["config"] and names_secret(words[1:]))
        if prints or (kind in ("looks", "asks") and _has(texts, self.reveals)):
            yield external(f"{self.party}/secrets")
        match kind:
            case "looks":
                yield look()
            case "asks":
                yield connect("*:*")
            case "changes":
                yield external(f"{self.party}/{operands(call, self.valued)[0].pattern}")
            case _:
                raise Unanalysable(
                    f"what `{' '.join(texts[:2]) if texts else call.program}` of {call.program} does is not known"
                )


def _has(texts: list[str], options: tuple[str, ...]) -> bool:
    return any(text == option or text.startswith(option + "=") for text in texts for option in options)


def operands(call: Invocation, valued: frozenset[str] = frozenset()) -> list[Word]:
    """The words that are no options: verbs first."""
    found: list[Word] = []
    words = list(call.words)
    while words:
        word = words.pop(0)
        if word.text == "--":
            return found + words
        if not word.text.startswith("-") or word.text == "-":
            found.append(word)
        elif word.text in valued and words:
            words.pop(0)
    return found
