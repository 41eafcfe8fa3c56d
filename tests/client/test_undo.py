"""What an undo declares: the inverse of what was observed, no more and no less."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.calls import inverse

K = v1.EffectKind
DIRECTORY = v1.FileState(type=v1.FileType.FILE_TYPE_DIRECTORY)


def seen(kind: v1.EffectKind, target: str, renamed: str = "", before: v1.FileState | None = None) -> v1.ObservedEffect:
    return v1.ObservedEffect(kind=kind, target=target, file=v1.FileChange(renamed=renamed, before=before))


def declared(*effects: v1.ObservedEffect) -> list[tuple[v1.EffectKind, str]]:
    return [(effect.kind, effect.target) for effect in inverse(v1.Observation(effects=effects))]


def test_what_left_a_directory_that_moved_comes_back_by_itself() -> None:
    moved = [seen(K.EFFECT_KIND_FILE_RENAME, "/b", "/c"), seen(K.EFFECT_KIND_FILE_CREATE, "/c", "/b")]
    back = [(K.EFFECT_KIND_FILE_CREATE, "/b"), (K.EFFECT_KIND_FILE_RENAME, "/c")]
    assert declared(*moved) == back
    along = [seen(K.EFFECT_KIND_FILE_RENAME, "/b/x", "/c/x"), seen(K.EFFECT_KIND_FILE_CREATE, "/c/x", "/b/x")]
    assert declared(*moved, *along) == back
    out = [seen(K.EFFECT_KIND_FILE_RENAME, "/b/y", "/y"), seen(K.EFFECT_KIND_FILE_CREATE, "/y", "/b/y")]
    assert sorted(declared(*moved, *out)) == sorted(
        [*back, (K.EFFECT_KIND_FILE_CREATE, "/b/y"), (K.EFFECT_KIND_FILE_RENAME, "/y")]
    )
    deleted = seen(K.EFFECT_KIND_FILE_DELETE, "/b/x")
    assert sorted(declared(*moved, deleted)) == sorted([*back, (K.EFFECT_KIND_FILE_CREATE, "/b/x")])


def test_what_lay_in_a_directory_that_was_deleted_comes_back_with_it() -> None:
    tree = seen(K.EFFECT_KIND_FILE_DELETE, "/b", before=DIRECTORY)
    assert declared(tree, seen(K.EFFECT_KIND_FILE_DELETE, "/b/x")) == [(K.EFFECT_KIND_FILE_CREATE, "/b/**")]
