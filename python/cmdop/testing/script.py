"""Scripts of a model in a file: JSON lines, one turn each, so that a run needs neither a key nor a program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from cmdop._bridge import check_json
from cmdop.errors import MalformedJsonError
from cmdop.testing.scripted import Ask, Say, Step

SHAPE: Final = (
    'one turn a line: {"tool": "files.list", "intent": "look", "arguments": {"path": "/srv/app"}}, with "expect": '
    '["file.delete:/srv/app/a.log"] for what it changes; a list of such for several calls at once; or {"say": "Done."}'
)
"""What a script looks like."""

_CALL: Final = frozenset({"tool", "host", "intent", "expect", "arguments", "say"})


def read_script(name: str, text: str) -> list[Step]:
    """The turns of a script. Empty lines and lines that begin with `#` are none.

    A call has the fields of an action but its key, and `say` for what the model says with it. Whatever else is wrong
    with an action is for the server to say, as it is of a model's.

    Args:
        name: What the script is called in errors.
        text: Its lines.

    Raises:
        MalformedJsonError: A line is no turn; the message names it.
    """
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    steps = [_turn(f"{name}, line {number}", line) for number, line in lines if line and not line.startswith("#")]
    if not steps:
        raise MalformedJsonError.fix(f"{name} has no turns", SHAPE)
    return steps


def _turn(place: str, line: str) -> Step:
    # The check is of one object, and a turn may be a list.
    check_json(place, (f'{{"turn": {line}\n}}' if line.startswith("[") else line).encode())
    turn: Any = json.loads(line)
    match turn:
        case {"say": str(words), **rest} if not rest:
            return Say(words)
        case dict():
            return _ask(place, turn)
        case [_, *_]:
            return [_ask(place, call) for call in cast("list[Any]", turn)]
        case _:
            raise MalformedJsonError.fix(f"{place}: this is no turn", SHAPE)


def _ask(place: str, call: Any) -> Ask:
    match call:
        case {"tool": str(tool), **fields} if fields.keys() <= _CALL:
            arguments = fields.get("arguments", {})
            if not isinstance(arguments, Mapping):
                raise MalformedJsonError.fix(f"{place}: the arguments are no object", SHAPE)
            own = {key: fields[key] for key in ("host", "intent") if key in fields}
            own["expect"] = [_effect(each) for each in fields.get("expect", ())]
            return Ask(tool.replace(".", "_"), own | {**arguments}, say=str(fields.get("say", "")))
        case _:
            raise MalformedJsonError.fix(f"{place}: this is no call", SHAPE)


def _effect(effect: Any) -> Any:
    """`KIND:TARGET` as on a command line; what is an object already stays as it is."""
    if not isinstance(effect, str):
        return effect
    kind, _, target = effect.partition(":")
    return {"kind": kind, "target": target}
