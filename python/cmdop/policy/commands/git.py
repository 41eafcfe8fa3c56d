"""git: what loses history or uncommitted work, what leaves the machine, and what only looks."""

from __future__ import annotations

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, connect, create, delete, effect, modify, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

_LOOKS = frozenset(
    [
        "status",
        "log",
        "diff",
        "show",
        "blame",
        "shortlog",
        "describe",
        "rev-parse",
        "rev-list",
        "ls-files",
        "ls-tree",
        "cat-file",
        "grep",
        "name-rev",
        "merge-base",
        "whatchanged",
        "count-objects",
        "check-ignore",
        "check-attr",
        "for-each-ref",
        "show-ref",
        "var",
        "version",
        "help",
    ]
)
_RUNS_CODE = (
    "--ext-diff",
    "--textconv",
    "--output",
    "--upload-pack",
    "--receive-pack",
    "--exec",
    "-O",
    "--open-files-in-pager",
)
"""Options of harmless commands that run programs or write files."""


@command("git")
def git(call: Invocation) -> Effects:
    """Maps a git command to files of the work tree, its `.git`, and remotes."""
    cwd, words = _global_options(call)
    if not words:
        return
    verb, rest = words[0].text, words[1:]
    texts = [word.text for word in rest]
    for text in texts:
        if text.startswith(_RUNS_CODE):
            raise Unanalysable(f"git {verb} {text} may write files or run programs")
    inside = Invocation(argv=(Word(verb), *rest), cwd=cwd, home=call.home)
    tree, store = beneath(inside.path(".")), beneath(inside.path(".git"))
    if verb in _LOOKS or _only_lists(verb, texts):
        yield read(tree)
        return
    if verb not in _VERBS:
        raise Unanalysable(f"what `git {verb}` does is not known")
    yield from write(store)
    yield from _VERBS[verb](inside, tree, texts)


def _global_options(call: Invocation) -> tuple[str, tuple[Word, ...]]:
    words, cwd = list(call.words), call.cwd
    while words and words[0].text.startswith("-"):
        option = words.pop(0).text
        if option == "-C" and words:
            cwd = call.path(words.pop(0))
        elif option not in ("--no-pager", "--no-optional-locks", "-P", "--version", "--help"):
            raise Unanalysable(f"git {option} may change what git executes")
    return cwd, tuple(words)


def _only_lists(verb: str, texts: list[str]) -> bool:
    match verb:
        case "branch" | "tag":
            return all(
                text in ("-a", "-r", "-v", "-vv", "-l", "--list", "--all", "--show-current", "-n") for text in texts
            )
        case "stash" | "worktree" | "submodule" | "reflog" | "notes":
            return texts[:1] in ([], ["list"], ["show"], ["status"]) and not (verb == "stash" and not texts)
        case "remote":
            return texts in ([], ["-v"]) or texts[:1] in (["show"], ["get-url"])
        case "config":
            return any(text in ("--get", "--get-all", "--list", "-l", "--get-regexp") for text in texts)
        case _:
            return False


def _record(call: Invocation, tree: str, texts: list[str]) -> Effects:
    """Writes only below `.git`. Hooks run code of the repository."""
    yield read(tree)
    if call.program == "commit":
        raise Unanalysable("a commit runs the hooks of the repository")


def _overwrites(call: Invocation, tree: str, texts: list[str]) -> Effects:
    """Discards or replaces uncommitted work in the work tree."""
    yield modify(tree, certain=False)
    yield create(tree, certain=False)
    yield delete(tree, certain=False)


def _reset(call: Invocation, tree: str, texts: list[str]) -> Effects:
    if any(text in ("--hard", "--merge", "--keep") for text in texts):
        yield from _overwrites(call, tree, texts)


def _clean(call: Invocation, tree: str, texts: list[str]) -> Effects:
    if not any(
        text in ("-n", "--dry-run") or (text.startswith("-") and not text.startswith("--") and "n" in text)
        for text in texts
    ):
        yield delete(tree, certain=False)


def _remove(call: Invocation, tree: str, texts: list[str]) -> Effects:
    parsed = call.parse(Options("frnq", "", ("cached", "force", "dry-run", "quiet", "ignore-unmatch")))
    if not parsed.has("cached", "n", "dry-run"):
        for word in parsed.operands:
            yield delete(call.path(word))


def _fetch(call: Invocation, tree: str, texts: list[str]) -> Effects:
    yield connect("*:*")


def _pull(call: Invocation, tree: str, texts: list[str]) -> Effects:
    yield connect("*:*")
    yield from _overwrites(call, tree, texts)


def _push(call: Invocation, tree: str, texts: list[str]) -> Effects:
    yield connect("*:*")
    rewrites = any(
        text in ("--force", "-f", "--mirror", "--delete", "-d", "--prune") or text.startswith(("--force", "+", ":"))
        for text in texts
    )
    yield effect("external", "git-remote/rewrite-history" if rewrites else "git-remote/push")


def _clone(call: Invocation, tree: str, texts: list[str]) -> Effects:
    yield connect("*:*")
    yield from write(tree)


_VERBS = {
    "add": _record,
    "commit": _record,
    "branch": _record,
    "tag": _record,
    "init": _record,
    "checkout": _overwrites,
    "switch": _overwrites,
    "restore": _overwrites,
    "merge": _overwrites,
    "rebase": _overwrites,
    "cherry-pick": _overwrites,
    "revert": _overwrites,
    "stash": _overwrites,
    "apply": _overwrites,
    "mv": _overwrites,
    "reset": _reset,
    "clean": _clean,
    "rm": _remove,
    "fetch": _fetch,
    "pull": _pull,
    "push": _push,
    "clone": _clone,
}
