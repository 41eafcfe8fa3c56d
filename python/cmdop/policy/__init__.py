"""What commands do: the vocabulary that predicts effects, and how users extend it.

Rust resolves a shell command into invocations; this room says what each invocation does. A command
is taught by a function::

    from cmdop.policy import Invocation, Options, command, delete

    @command("logrotate-now")
    def logrotate_now(call: Invocation):
        parsed = call.parse(Options(flags="v"))
        for word in parsed.operands:
            yield delete(call.path(word))

and made known by an entry point of the group ``cmdop.commands`` that names its module
(``docs/design/prediction.md`` has a worked example). What nobody
knows is unanalysable, and so is a function that raises: a prediction never guesses in the agent's
favour.
"""

from cmdop.policy.effects import (
    Nested,
    Predicted,
    Unanalysable,
    chmod,
    chown,
    connect,
    create,
    delete,
    effect,
    external,
    kept,
    look,
    modify,
    read,
    rename,
    run,
    script,
    signal,
    write,
)
from cmdop.policy.invocation import Invocation, Options, Parsed, Word
from cmdop.policy.levels import load_levels
from cmdop.policy.vocabulary import Vocabulary, command, judge, vocabulary, vocabulary_version

__all__ = [
    "Invocation",
    "Nested",
    "Options",
    "Parsed",
    "Predicted",
    "Unanalysable",
    "Vocabulary",
    "Word",
    "chmod",
    "chown",
    "command",
    "connect",
    "create",
    "delete",
    "effect",
    "external",
    "judge",
    "kept",
    "load_levels",
    "look",
    "modify",
    "read",
    "rename",
    "run",
    "script",
    "signal",
    "vocabulary",
    "vocabulary_version",
    "write",
]
