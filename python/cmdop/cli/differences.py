"""Text differences of a diff, each under the path that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from cmdop.document.text import text_note, visible

_SHOWN_NOTES = 20


def differences(effects: Sequence[Mapping[str, Any]], *, is_abridged: bool) -> list[Text]:
    """What became of the text of each file, and of which nothing is shown, with the reason.

    No line of a difference can be taken for such a heading: all of them begin with a sign, a space or `@`.
    """
    parts: list[Text] = []
    notes = 0
    for effect in effects:
        file: Mapping[str, Any] = effect.get("file") or {}
        heading = Text(visible(f"{effect['kind']}  {effect['target']}"), style="bold")
        if file.get("text_diff"):
            cut = "\n… cut at 4 KiB" if file["text_diff_truncated"] else ""
            parts += [heading, Text(visible(file["text_diff"].rstrip("\n")) + cut, style="dim")]
        elif note := text_note(effect, is_abridged=is_abridged):
            notes += 1
            parts += [heading + Text(f"  ({note})", style="yellow")] if notes <= _SHOWN_NOTES else []
    if notes > _SHOWN_NOTES:
        parts.append(Text(f"and {notes - _SHOWN_NOTES} more files without a text difference", style="yellow"))
    return parts
