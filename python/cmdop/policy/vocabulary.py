"""The registry of what commands do, and the answer to a judgement request."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import logging
import time
from collections.abc import Callable
from functools import cache

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.policy.effects import Effects, Nested, Predicted
from cmdop.policy.invocation import Invocation, Unanalysable, Word

SHIPPED = (
    "archive",
    "build",
    "container",
    "data",
    "database",
    "edit",
    "files",
    "find",
    "framework",
    "git",
    "infrastructure",
    "interpreter",
    "machine",
    "network",
    "package",
    "process",
    "reading",
    "runner",
    "system",
    "wrapper",
)
"""Modules of `cmdop.policy.commands`."""

ENTRY_POINTS = "cmdop.commands"
"""Entry point group of users' own commands; each entry names a module whose import registers them."""

Command = Callable[[Invocation], Effects]
"""Maps an invocation to what it does. Raises `Unanalysable` if that cannot be said."""

_PATIENCE_S = 1.0
"""Processor time that a command function may take. A server besides stops waiting at its own deadline."""
_MOST = 2_000
"""Most that a command function may say of one invocation."""
_CONTAINED = frozenset(
    kind
    for name, kind in v1.EffectKind.items()
    if name.removeprefix("EFFECT_KIND_").startswith(("FILE_", "PROCESS_SPAWN", "PROCESS_INSPECT"))
)
"""Kinds that a private copy holds back."""
_log = logging.getLogger(__name__)


class Vocabulary:
    """Commands by program name. Anything else is unanalysable."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def add(self, command: Command, *names: str) -> None:
        """Teaches what these programs do. A name that is known already is a `ValueError`."""
        for name in names:
            if self._commands.get(name, command) is not command:
                raise ValueError(f"command {name!r} is taught twice; remove one of the two")
            self._commands[name] = command

    @property
    def names(self) -> list[str]:
        """All programs that are known."""
        return sorted(self._commands)

    @property
    def version(self) -> str:
        """Digest of the names and sources of all commands: it changes when what they say may change."""
        digest = hashlib.sha256()
        for name in self.names:
            module = inspect.getmodule(self._commands[name])
            source = inspect.getsource(module) if module else ""
            digest.update(f"{name}\0{hashlib.sha256(source.encode()).hexdigest()}\0".encode())
        return digest.hexdigest()[:16]

    def judge(self, call: Invocation) -> v1.Judgement:
        """What one invocation does, or why nobody can say."""
        command = self._commands.get(call.program)
        if command is None:
            return v1.Judgement(unanalysable=f"nobody knows what `{call.program}` does")
        if "/" in call.argv[0].text and not call.argv[0].text.startswith(
            ("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/")
        ):
            return v1.Judgement(unanalysable=f"`{call.argv[0].text}` is not the system's `{call.program}`")
        try:
            return _judgement(command, call)
        except Exception as error:  # a defect of a command function must not decide anything
            _log.exception("command function for %s failed", call.program)
            return v1.Judgement(unanalysable=f"the function for `{call.program}` failed: {type(error).__name__}")


def _judgement(command: Command, call: Invocation) -> v1.Judgement:
    """What a command function says. What it said before it gave up still counts: no copy holds a contact back."""
    judgement = v1.Judgement()
    deadline = time.thread_time() + _PATIENCE_S
    try:
        for count, each in enumerate(command(call)):
            if count >= _MOST or (count % 16 == 15 and time.thread_time() > deadline):
                raise Unanalysable(f"the function for `{call.program}` says too much or takes too long")
            _add(judgement, each, call)
        if time.thread_time() > deadline:
            raise Unanalysable(f"the function for `{call.program}` takes too long")
    except Unanalysable as why:
        judgement.unanalysable = str(why) or f"nobody can say what `{call.program}` does"
    return judgement


def _add(judgement: v1.Judgement, each: Predicted | Nested, call: Invocation) -> None:
    match each:
        case Predicted():
            judgement.effects.add(
                kind=each.kind,
                target=each.target,
                certain=each.certain,
                containable=each.kind in _CONTAINED,
                recoverable=each.recoverable,
            )
        case Nested(argv=argv) if argv:
            judgement.invocations.add(
                argv=[word.text for word in argv],
                globbed=[index for index, word in enumerate(argv) if word.globbed],
                env=dict(call.env),
                cwd=call.cwd if each.cwd is None else each.cwd,
                stdin_unknown=True,
                certain=True,
                source=" ".join(word.text for word in argv),
            )
        case Nested():
            judgement.scripts.add(
                command=each.command, cwd=call.cwd if each.cwd is None else each.cwd, env=dict(call.env)
            )


_teaching = Vocabulary()


def command(*names: str) -> Callable[[Command], Command]:
    """Teaches what the programs of these names do."""

    def teach(function: Command) -> Command:
        _teaching.add(function, *names)
        return function

    return teach


@cache
def vocabulary() -> Vocabulary:
    """The shipped commands and those of every installed package that has the entry point.

    Raises `InvalidConfigurationError` if one of them cannot be imported or teaches what is known already.
    """
    for family in SHIPPED:
        importlib.import_module(f"cmdop.policy.commands.{family}")
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            entry.load()
        except Exception as error:  # whoever wrote the package made the mistake, and hears of it by name
            where = f"`{entry.value}` (entry point `{entry.name}` of {ENTRY_POINTS})"
            what = str(error) or type(error).__name__
            raise InvalidConfigurationError(f"the commands of {where} cannot be taught: {what}") from error
    return _teaching


@cache
def vocabulary_version() -> str:
    """Version of the vocabulary; every decision records it."""
    return vocabulary().version


def judge(request: bytes) -> bytes:
    """Answers an encoded `JudgementRequest` with an encoded `JudgementReply`."""
    asked = v1.JudgementRequest.FromString(request)
    known = vocabulary()
    reply = v1.JudgementReply(id=asked.id)
    for message in asked.invocations:
        globbed = set(message.globbed)
        call = Invocation(
            argv=tuple(Word(text, index in globbed) for index, text in enumerate(message.argv)),
            cwd=message.cwd,
            # In one order, so that what is said of several variables is the same each time.
            env=dict(sorted(message.env.items())),
            stdin=message.stdin if message.HasField("stdin") else None,
            stdin_unknown=message.stdin_unknown,
            home=asked.home,
            workspaces=tuple(asked.workspaces),
        )
        if not call.argv or call.argv[0].globbed:
            reply.judgements.add(unanalysable="the program's name cannot be known")
        else:
            reply.judgements.append(known.judge(call))
    return reply.SerializeToString()
