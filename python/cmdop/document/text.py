"""Effects, scores and sizes in words, and text made safe to show: what trees, views and approvals share."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

DIGEST_SHOWN: Final = 16
"""Digits of a digest that a person sees; `--json` has all of them."""
_DEFAULT_MODES: Final = {"regular": "0644", "directory": "0755", "symlink": "0777"}
_VERDICTS: Final = {
    "approve": "approved",
    "modify": "put something else in its place:",
    "reject": "rejected",
    "escalate": "passed on",
    "terminate": "rejected, and the run ended,",
}
_LISTS: Final = {"system.posix_acl_access": "access list", "system.posix_acl_default": "default access list"}
_MAX_TEXT_BYTES: Final = 256 * 1024
"""Of larger files a host makes no text difference."""
_LOUD_BITS: Final = ((0o4000, "SETUID"), (0o2000, "SETGID"))


def visible(text: str) -> str:
    """Text with control, bidirectional and invisible characters made visible.

    An approver must see what will run: an escape sequence in an intent could redraw the screen.
    """
    return "".join(_visible(character) for character in text)


def in_row(text: str) -> str:
    """The same in one row: a line of its own could look like something that cmdop says."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def is_seen(character: str) -> bool:
    """False for what a terminal would obey, reorder or not show."""
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _visible(character: str) -> str:
    if is_seen(character):
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


def value_text(value: Any) -> str:
    """An argument or a result as a person writes it: texts as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def size_text(count: int) -> str:
    """A number of bytes: `1.23 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def net_words(document: Mapping[str, Any]) -> str:
    """What stays of a call that applied no change: a contact is not taken back. Empty if nothing does."""
    if document["outcome"] != "not_applied":
        return ""
    seen = [effect for effect in document["observed"] if is_contact(effect["kind"])]
    contacted = [effect["target"] for effect in seen if effect["kind"] == "net.connect"]
    others = [f"{effect['kind']}:{effect['target']}" for effect in seen if effect["kind"] != "net.connect"]
    parts = [f"it contacted {', '.join(contacted)}"] if contacted else []
    parts += [f"it had {', '.join(others)}"] if others else []
    return f"no change was applied; {' and '.join(parts)}" if parts else ""


def is_contact(kind: str) -> bool:
    """Does an effect of this kind leave the machine, whatever is committed afterwards?"""
    return kind.startswith("net.") or kind == "external"


def duration_text(nanoseconds: int) -> str:
    """A time span: `83.9 ms`, `1.67 s`."""
    milliseconds = nanoseconds / 1e6
    return f"{milliseconds:.3g} ms" if milliseconds < 999.5 else f"{milliseconds / 1000:,.2f} s"


def effect_details(effect: Mapping[str, Any]) -> list[str]:
    """What is known of an effect besides its kind and target, from its document."""
    details: list[str] = []
    process: Mapping[str, Any] = effect.get("process") or {}
    if effect.get("count", 1) != 1:
        details.append(f"{effect['count']} {'times' if process else 'entries'}")
    details += _process_details(process)
    if effect.get("bytes"):
        details.append(size_text(effect["bytes"]))
    details += _file_details(effect)
    if effect.get("certain") is False:
        details.append("perhaps")
    if effect.get("min_count") == 0:
        details.append("may happen")
    if effect.get("max_count") is not None:
        details.append(f"at most {effect['max_count']}")
    if _stays(effect):
        details.append("cannot be undone")
    if effect.get("severity"):
        details.append(f"{effect['severity']}: {effect['why']}")
    return details


def _process_details(process: Mapping[str, Any]) -> list[str]:
    if not process:
        return []
    details = [visible(process[name]) for name in ("name", "program") if process[name]]
    if process["arguments"]:
        details.append(visible(shlex.join(process["arguments"])) + (" …" if process["arguments_truncated"] else ""))
    if process["pid"]:
        details.append(f"process {process['pid']}")
    if process["sha256"]:
        details.append(f"sha256 {process['sha256'][:DIGEST_SHOWN]}…")
    return details


def _file_details(effect: Mapping[str, Any]) -> list[str]:
    """What a path is afterwards, as far as an approver must know it: type, owner, mode, content."""
    file: Mapping[str, Any] = effect.get("file") or {}
    before: Mapping[str, Any] = file.get("before") or {}
    after: Mapping[str, Any] = file.get("after") or {}
    details = [f"{word} {visible(file[word])}" for word in ("renamed", "linked") if file.get(word)]
    if not after:
        return details
    if after["type"] != "regular":
        details.append(f"{after['type']}{' to ' + visible(after['link_target']) if after.get('link_target') else ''}")
    if before and before["size"] != after["size"]:
        details.append(f"size {size_text(before['size'])} → {size_text(after['size'])}")
    details += _mode_details(before, after)
    owner, owner_before = ([f"{state['uid']}:{state['gid']}"] if state else [] for state in (after, before))
    if owner != (owner_before or ["0:0"]):
        details.append(f"owner {' → '.join([*owner_before, *owner])}")
    details += _attribute_details(before, after)
    if after.get("sha256") and after["sha256"] != before.get("sha256"):
        details.append(f"sha256 {after['sha256'][:DIGEST_SHOWN]}…")
    return details


def _mode_details(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    if after["mode"] == (before["mode"] if before else _DEFAULT_MODES.get(after["type"] or "")):
        return []
    new, old = int(after["mode"], 8), int(before["mode"], 8) if before else 0
    loud = [name for bit, name in _LOUD_BITS if new & bit and not old & bit]
    change = f"mode {before['mode']} → {after['mode']}" if before else f"mode {after['mode']}"
    return [" ".join([*loud, change])]


def _attribute_details(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What extended attributes become."""
    old, new = ({one["name"]: one for one in state.get("xattrs", [])} for state in (before, after))
    changed = [name for name in sorted({*old, *new}) if _digest(old.get(name)) != _digest(new.get(name))]
    return [_attribute(name, old.get(name), new.get(name)) for name in changed]


def _digest(attribute: Mapping[str, Any] | None) -> str | None:
    return None if attribute is None else attribute["sha256"] or ""


def _attribute(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    what = _LISTS.get(name) or f"attribute {visible(name)}"
    then, now = (None if one is None else _attribute_value(one) for one in (old, new))
    if then is None:
        return f"{what}: {now}" if now else what
    if name in _LISTS and now is not None and "…" not in then + now:
        # Whom a list names as before says nothing of the change.
        entries, others = then.split(","), now.split(",")
        gone, come = ([one for one in some if one not in rest] for some, rest in ((entries, others), (others, entries)))
        if not (gone and come) and (gone or come):
            return f"{what}: {'no longer' if gone else 'also'} {','.join(gone or come)}"
        if gone:
            then, now = ",".join(gone), ",".join(come)
    if old is not None and new is not None and then == now:
        then, now = (f"{said} (sha256 {one['sha256'][:DIGEST_SHOWN]}…)" for said, one in ((then, old), (now, new)))
    return f"{what}: {then} → {'none' if now is None else now}"


def _attribute_value(attribute: Mapping[str, Any]) -> str:
    if attribute["value"] is not None:
        return visible(attribute["value"])
    return f"sha256 {attribute['sha256'][:DIGEST_SHOWN]}…" if attribute["sha256"] else ""


def text_note(effect: Mapping[str, Any], *, is_abridged: bool) -> str:
    """Why no text difference of a file's new content is there; empty if there is one, or nothing to say."""
    file: Mapping[str, Any] = effect.get("file") or {}
    before: Mapping[str, Any] = file.get("before") or {}
    after: Mapping[str, Any] = file.get("after") or {}
    is_content = effect["kind"] in ("file.create", "file.modify") and after.get("type") == "regular"
    is_elsewhere = file.get("text_diff") or file.get("renamed") or file.get("linked")
    if not is_content or is_elsewhere or before.get("sha256") == after.get("sha256"):
        return ""
    sizes = before.get("size", 0), after["size"]
    if not any(sizes):
        return ""
    if max(sizes) > _MAX_TEXT_BYTES:
        return "no text difference: the file is larger than 256 KiB"
    if file["text_diff_truncated"]:
        others = ", or what is shown was too large for it" if is_abridged else ""
        return f"no text difference: the file is a secret{others}"
    return "no text difference: the file is not UTF-8 text, or was not compared"


def _stays(effect: Mapping[str, Any]) -> bool:
    """Is not enough kept of an effect to undo it?"""
    process = effect.get("process")
    return effect.get("reversible") is False and (not process or bool(process["name"]))


def undo_words(effects: Sequence[Mapping[str, Any]]) -> str:
    """Whether a diff can be taken back of which policy says that nothing is lost by it; empty if all of it can.

    What it makes can be deleted again, so nothing is lost by it, also where no undo takes it back.
    """
    stay = [effect for effect in effects if _stays(effect)]
    if not stay:
        return ""
    count = f"{len(stay)} of {len(effects)} effects"
    made = all(effect["kind"] == "file.create" for effect in stay)
    return f"cannot be undone: {count}" + ("; what they make can only be deleted again" if made else "")


def verdict_words(verdict: Mapping[str, Any]) -> str:
    """What a person answered: `approved by ann at 2026-…`."""
    word = verdict["verdict"] or "-"
    return f"{_VERDICTS.get(word, word)} by {verdict['approver'] or 'nobody'} at {verdict['decided_at']}"


def quorum_words(quorum: Mapping[str, Any]) -> str:
    """Who must still agree: `1 of 2 approved (ann); 1 more of operators by 2026-…, then leads`."""
    agreed = f" ({', '.join(quorum['approved_by'])})" if quorum["approved_by"] else ""
    words = f"{len(quorum['approved_by'])} of {quorum['needed']} approved{agreed}"
    if not quorum["missing"]:
        return words
    whom = f"of {quorum['group']}" if quorum["group"] else "of anybody else" if quorum["policy"] else "of anybody"
    words += f"; {quorum['missing']} more {whom} by {quorum['expires_at']}"
    return words + (f", then {', '.join(quorum['next'])}" if quorum["next"] else "")


def score_words(document: Mapping[str, Any]) -> str:
    """The three scores in words, of the document of a call that has them."""
    scores: Mapping[str, Any] = document["scores"]
    success = {None: _unmeasured(document), 1: "succeeded"}.get(scores["success"], "did not succeed")
    count = scores["side_effects"]
    beyond = _no_side_effects(document) if not count else f"{count} side effect{'s' if count > 1 else ''}"
    if count:
        beyond += f" (worst {scores['severity']}, weight {scores['weight']:g})"
    valid = "valid" if scores["validity"] == 1 else "not valid"
    return f"{valid}, {success}, {beyond}" + (": clean" if scores["clean"] else "")


def _unmeasured(document: Mapping[str, Any]) -> str:
    """Why nobody says whether it succeeded."""
    if document["outcome"] == "unknown":
        return "nobody can tell what it did"
    if document["outcome"] == "applied" or document["reconciliation"] is not None:
        return "nobody measured whether it succeeded"
    return "nothing ran"


def _no_side_effects(document: Mapping[str, Any]) -> str:
    """What is known of side effects where none is told: there are none only where somebody looked."""
    # Somebody said that it was applied, and nobody measured it.
    word = document["reconciliation"]
    is_only_said = document["outcome"] == "applied" and word is not None and word["measured"] in (None, "unknown")
    if (document["unobserved"] or is_only_said) and not document["observed"]:
        return "side effects not observed"
    return "no side effects seen" if document["unobserved"] or document["outcome"] == "unknown" else "no side effects"
