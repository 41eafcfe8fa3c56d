"""What a command function yields: predicted effects, and scripts or invocations it makes in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cmdop import v1
from cmdop.document.words import parse_kind
from cmdop.policy.invocation import Unanalysable, Word


@dataclass(frozen=True, slots=True)
class Predicted:
    """One effect that an invocation may have."""

    kind: v1.EffectKind
    target: str
    """In the grammar of `cmdop.v1.ExpectedEffect`, absolute."""
    certain: bool = True
    """True if the invocation aims at it, False if it only may have it."""
    recoverable: bool = False
    """True if whatever it takes away is kept elsewhere: a version control system's store."""


@dataclass(frozen=True, slots=True)
class Nested:
    """A shell script, or an invocation already split into words, that the command runs in turn."""

    command: str = ""
    argv: Sequence[Word] = ()
    cwd: str | None = None
    """Its working directory; None means the command's own."""


Effects = Iterator[Predicted | Nested]
"""What a command function yields."""


def effect(kind: str, target: str, *, certain: bool = True) -> Predicted:
    """An effect by the text of its kind, such as ``service.stop``."""
    return Predicted(parse_kind(kind), target, certain)


def read(path: str, *, certain: bool = True) -> Predicted:
    """Reads a file or lists a directory."""
    return effect("file.read", path, certain=certain)


def create(path: str, *, certain: bool = True) -> Predicted:
    """Creates what was not there."""
    return effect("file.create", path, certain=certain)


def modify(path: str, *, certain: bool = True) -> Predicted:
    """Changes the content of what was there."""
    return effect("file.modify", path, certain=certain)


def write(path: str) -> tuple[Predicted, Predicted]:
    """Creates or overwrites: which of the two depends on the machine, so neither is certain."""
    return create(path, certain=False), modify(path, certain=False)


def delete(path: str, *, certain: bool = True) -> Predicted:
    """Deletes a file, or a directory with everything beneath."""
    return effect("file.delete", path, certain=certain)


def rename(path: str, *, certain: bool = True) -> Predicted:
    """Takes a path away from its place, content intact."""
    return effect("file.rename", path, certain=certain)


def chmod(path: str, *, certain: bool = True) -> Predicted:
    """Changes permission bits."""
    return effect("file.chmod", path, certain=certain)


def chown(path: str, *, certain: bool = True) -> Predicted:
    """Changes owner or group."""
    return effect("file.chown", path, certain=certain)


def connect(endpoint: str, *, certain: bool = True) -> Predicted:
    """Opens a connection to ``host:port``."""
    return effect("net.connect", endpoint, certain=certain)


def signal(process: str, *, certain: bool = True) -> Predicted:
    """Signals a process: a program name or ``pid:1234``."""
    return effect("process.signal", process, certain=certain)


def external(party: str, *, certain: bool = True) -> Predicted:
    """Changes something that no private copy of this machine holds: ``kubernetes/delete``."""
    return effect("external", party, certain=certain)


def kept(*effects: Predicted) -> Iterator[Predicted]:
    """The same effects of a program that refuses to take away what it could not bring back."""
    return (replace(each, recoverable=True) for each in effects)


def look(process: str = "*") -> Predicted:
    """Inspects processes."""
    return effect("process.inspect", process)


def script(text: str, *, cwd: str | None = None) -> Nested:
    """A shell script that the command runs: it is resolved and judged in turn."""
    return Nested(command=text, cwd=cwd)


def run(argv: Sequence[Word], *, cwd: str | None = None) -> Nested:
    """An invocation that the command makes: it is judged in turn."""
    if not argv:
        raise Unanalysable("it runs a command that cannot be seen")
    return Nested(argv=tuple(argv), cwd=cwd)
