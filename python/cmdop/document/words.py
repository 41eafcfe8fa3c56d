"""Text forms of the wire's enums and times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from cmdop import v1

KINDS: Final[dict[str, v1.EffectKind]] = {
    value.name.removeprefix("EFFECT_KIND_").lower().replace("_", ".", 1): cast("v1.EffectKind", value.number)
    for value in v1.EffectKind.DESCRIPTOR.values
    if value.number != v1.EffectKind.EFFECT_KIND_UNSPECIFIED
}
"""Every effect kind by its text form, such as `file.delete`."""

_NAMES: Final[dict[int, str]] = {int(number): name for name, number in KINDS.items()}


def kind_name(kind: int) -> str:
    """Text form of an effect kind: `file.delete`. Numbers of a newer server stay numbers."""
    return _NAMES.get(kind, str(kind) if kind else "unspecified")


def parse_kind(text: str) -> v1.EffectKind:
    """The effect kind of a text form.

    Raises:
        ValueError: It is not one of the language; the message lists those that are.
    """
    try:
        return KINDS[text]
    except KeyError:
        raise ValueError(f"`{text}` is not an effect kind; write one of {', '.join(KINDS)}") from None


def word(enum: Any, number: int) -> str | None:
    """Text form of an enum value without the enum's prefix, in lower case; None if unspecified.

    `word(v1.Outcome, call.outcome)` is `applied`, `not_applied`, `unknown` or None.
    """
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return str(number)
    name: str = value.name
    first: str = enum.DESCRIPTOR.values[0].name
    prefix = first.removesuffix("UNSPECIFIED").removesuffix("NONE")
    text = name.removeprefix(prefix).lower()
    return None if text == "unspecified" else text


def time_text(nanoseconds: int) -> str | None:
    """RFC 3339 in UTC with microseconds, or None for a time that was not set."""
    if nanoseconds == 0:
        return None
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).isoformat().replace("+00:00", "Z")
