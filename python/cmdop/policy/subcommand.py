"""Programs with verbs (`docker ps`, `kubectl delete`): which look, which contact, which change what is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmdop.policy.effects import Effects, connect, external, look
from cmdop.policy.invocation import Invocation, Unanalysable, Word


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

    def of(self, call: Invocation) -> str:
        """The verb's kind: ``looks``, ``asks``, ``changes``, or empty if it is not known."""
        words = [word.text for word in operands(call, self.valued)]
        for length in range(min(4, len(words)), 0, -1):
            verb = " ".join(words[:length])
            for kind in ("looks", "asks", "changes"):
                if verb in getattr(self, kind).split("|"):
                    return kind
        return ""

    def effects(self, call: Invocation) -> Effects:
        """What the call does, as far as its verb says it."""
        texts = [word.text for word in call.words]
        if not texts or (
            any(text in ("--version", "--help", "-h", "version", "help") for text in (*texts[:1], texts[-1]))
            and len(texts) <= 3
        ):
            return
        kind = self.of(call)
        if kind in ("looks", "asks") and any(
            text == option or text.startswith(option + "=") for text in texts for option in self.files
        ):
            raise Unanalysable(f"{call.program} writes a file or runs a program")
        match kind:
            case "looks":
                yield look()
            case "asks":
                yield connect("*:*")
            case "changes":
                words = list(operands(call, self.valued))
                yield external(f"{self.party}/{words[0].pattern}")
            case _:
                raise Unanalysable(
                    f"what `{' '.join(texts[:2]) if texts else call.program}` of {call.program} does is not known"
                )


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
