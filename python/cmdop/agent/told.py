"""What a model hears of a call: the facts and the remedy, in its own terms, and no more than it can use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from cmdop import v1
from cmdop.document import call_document, error_document

TEXT_CHARS = 16_000
"""Characters of one text that a model is told; what is cut out of the middle is counted."""
ENTRIES = 100
"""Entries of one list that a model is told; the rest is counted."""
ALL_CHARS = 64_000
"""Characters of one answer. Beyond it, texts and lists are cut further."""

_KEPT = ("outcome", "result", "observed", "refused", "unobserved", "side_effects", "error")


def told_of_call(call: v1.Call) -> str:
    """A settled call as JSON text: what it did, not how it was decided."""
    document = call_document(call)
    kept = {key: document[key] for key in _KEPT if document.get(key)}
    if call.HasField("error"):
        kept["error"] = _error(call.error)
    if call.proposal.HasField("replaces"):
        instead = {key: document[key] for key in ("intent", "arguments")}
        kept["modified"] = {"by": call.proposal.replaces.by, "instead": instead}
    return _bounded(kept)


def told_of_error(error: v1.Error) -> str:
    """The error of a call that was not taken, as JSON text."""
    return _bounded({"error": _error(error)})


def _error(error: v1.Error) -> dict[str, Any]:
    """An error whose places are those of the function that the model filled in."""
    document = error_document(error)
    for part in (document, *document["violations"]):
        if "pointer" in part:
            part["pointer"] = _place(part["pointer"])
        match part["remedy"]:
            case {"kind": "fix_arguments", "path": path} as remedy:
                remedy["path"] = _place(path)
            case {"kind": "use_tool", "name": name} as remedy:
                remedy["name"] = name.replace(".", "_")
            case _:
                pass
    return document


def _place(pointer: str) -> str:
    # A function has its arguments beside intent and expect; the action has them one level deeper.
    return pointer.removeprefix("/arguments") if (pointer + "/").startswith("/arguments/") else pointer


def _bounded(document: dict[str, Any]) -> str:
    """JSON text of a document, cut until it fits."""
    text_chars, entries = TEXT_CHARS, ENTRIES
    while True:
        text = json.dumps(_cut(document, text_chars, entries), ensure_ascii=False)
        if len(text) <= ALL_CHARS or text_chars < 100:
            return text
        text_chars, entries = text_chars // 2, max(1, entries // 2)


def _cut(value: Any, text_chars: int, entries: int) -> Any:
    match value:
        case str() if len(value) > text_chars:
            half = text_chars // 2
            return f"{value[:half]}\n… {len(value) - 2 * half} characters are left out here …\n{value[-half:]}"
        case list():
            items = cast("list[Any]", value)
            kept = [_cut(item, text_chars, entries) for item in items[:entries]]
            return kept if len(items) <= entries else [*kept, f"… and {len(items) - entries} more"]
        case Mapping():
            fields = cast("Mapping[str, Any]", value)
            return {key: _cut(item, text_chars, entries) for key, item in fields.items()}
        case _:
            return value
