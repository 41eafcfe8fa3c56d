"""git: what loses history or uncommitted work, what leaves the machine, and what only looks."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from cmdop.policy.commands.files import beneath
from cmdop.policy.commands.repository import MAKERS, SAFE_SETTINGS, VERBS
from cmdop.policy.commands.wrapper import checked_variable
from cmdop.policy.effects import Effects, external, read
from cmdop.policy.invocation import Invocation, Unanalysable, Word
from cmdop.policy.secrecy import is_asked_of_git
from cmdop.policy.vocabulary import command

_LOOKS = frozenset(
    [
        "status",
        "log",
        "diff",
        "show",
        "blame",
        "annotate",
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
        "check-ref-format",
        "check-mailmap",
        "for-each-ref",
        "show-ref",
        "show-branch",
        "var",
        "version",
        "help",
        "diff-tree",
        "diff-files",
        "diff-index",
        "range-diff",
        "cherry",
        "verify-commit",
        "verify-tag",
        "fsck",
        "get-tar-commit-id",
        "patch-id",
        "stripspace",
        "column",
        "merge-tree",
        "column",
        "diff-pairs",
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
    "--show-signature",
    "--lost-found",
)
"""Options of harmless commands that run programs or write files."""
_LONG_WITH_VALUE = ("--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env", "--attr-source")


@command("git")
def git(call: Invocation) -> Effects:
    """Maps a git command to files of the work tree, its `.git`, and remotes."""
    for name in call.env:
        if name.startswith("GIT_") and name not in (
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_NAME",
            "GIT_COMMITTER_EMAIL",
            "GIT_PAGER_IN_USE",
        ):
            checked_variable(name)
    cwd, words = _global_options(call)
    if not words:
        return
    verb, rest = words[0].text, words[1:]
    texts = [word.text for word in rest]
    if "--help" in texts[: texts.index("--") if "--" in texts else None] or texts == ["-h"]:
        return
    if verb.startswith("credential") or (verb == "config" and is_asked_of_git(texts)):
        yield external("git/credentials")
    inside = replace(call, argv=(Word(verb), *rest), cwd=cwd, env={})
    if verb in MAKERS:
        yield from MAKERS[verb](inside)
        return
    if verb in _LOOKS or _only_lists(verb, texts):
        for text in texts:
            if text == "--":
                break
            if text.startswith(_RUNS_CODE) or (verb == "help" and text in ("-w", "--web", "-i", "--info")):
                raise Unanalysable(f"git {verb} {text} may write files or run programs")
        yield read(beneath(inside.path(".")))
        yield from _outside(inside, verb)
        return
    if verb not in VERBS:
        raise Unanalysable(f"what `git {verb}` does is not known")
    yield from VERBS[verb](inside)


def _outside(call: Invocation, verb: str) -> Effects:
    """Files beyond the directory that a verb shows: whatever is named by an absolute path, upwards, or with `--no-index`."""
    plain = verb in ("diff", "grep") and any(word.text == "--no-index" for word in call.words)
    for word in call.words:
        text = word.text.removeprefix("--contents=")
        if (text.startswith("/") or ".." in text.split("/") or (plain and not text.startswith("-"))) and text:
            yield read(call.path(replace(word, text=text)), certain=False)


def _global_options(call: Invocation) -> tuple[str, tuple[Word, ...]]:
    words, cwd = list(call.words), call.cwd
    while words and words[0].text.startswith("-"):
        option = words.pop(0).text
        if option.startswith("-C"):
            directory = Word(option[2:]) if option[2:] else words.pop(0) if words else Word("")
            if directory.globbed or not (cwd or directory.text.startswith("/")):
                raise Unanalysable("the directory of -C is not known")
            # A directory and not a region: what is said about it later escapes it.
            cwd = posixpath.join(cwd, directory.text)
        elif option.startswith("-c"):
            setting = option[2:] or (words.pop(0).text if words else "")
            if not setting.lower().startswith(SAFE_SETTINGS):
                raise Unanalysable(f"git -c {setting} may change what git executes")
        elif option in ("--", "--help", "--version", "-h", "-v"):
            if option == "--" and words and not words[0].text.startswith("-"):
                raise Unanalysable("git -- is no command")
            return cwd, ()
        elif option.partition("=")[0] in _LONG_WITH_VALUE:
            raise Unanalysable(f"git {option} says where the repository is")
        elif option not in (
            "--no-pager",
            "--no-optional-locks",
            "-P",
            "--paginate",
            "-p",
            "--literal-pathspecs",
            "--no-replace-objects",
            "--bare",
        ):
            raise Unanalysable(f"git {option} may change what git executes")
    return cwd, tuple(words)


_LISTS = frozenset(
    [
        "-a",
        "-r",
        "-v",
        "-vv",
        "-l",
        "--list",
        "--all",
        "--show-current",
        "-n",
        "--sort",
        "--format",
        "--merged",
        "--no-merged",
        "--contains",
        "--no-contains",
        "--points-at",
        "--column",
        "--remotes",
        "--verbose",
        "-i",
        "--ignore-case",
        "--color",
    ]
)


def _only_lists(verb: str, texts: list[str]) -> bool:
    first = texts[:1]
    match verb:
        case "branch" | "tag":
            names = [text for text in texts if not text.startswith("-")]
            options = [text for text in texts if text.startswith("-")]
            lists = all(option.partition("=")[0] in _LISTS or re.fullmatch(r"-n\d+", option) for option in options)
            return lists and (
                not names
                or bool({option.partition("=")[0] for option in options} - {"-v", "-vv", "-a", "-r", "--verbose"})
            )
        case (
            "stash"
            | "worktree"
            | "submodule"
            | "reflog"
            | "notes"
            | "bisect"
            | "sparse-checkout"
            | "rerere"
            | "bundle"
            | "lfs"
            | "maintenance"
        ):
            return first in (
                ["list"],
                ["show"],
                ["status"],
                ["log"],
                ["summary"],
                ["view"],
                ["diff"],
                ["ls-files"],
                ["env"],
            ) or (verb in ("worktree", "submodule", "reflog", "notes") and not texts)
        case "remote":
            return texts in ([], ["-v"], ["--verbose"], ["-v", "show"]) or first == ["get-url"]
        case "config":
            return first in (["list"], ["get"]) or any(
                text in ("--get", "--get-all", "--list", "-l", "--get-regexp", "--show-origin", "--show-scope")
                for text in texts
            )
        case "interpret-trailers":
            return "--in-place" not in texts
        case "symbolic-ref":
            return len([text for text in texts if not text.startswith("-")]) == 1 and "-d" not in texts
        case "apply":
            return (
                any(text in ("--check", "--stat", "--numstat", "--summary") for text in texts)
                and "--apply" not in texts
            )
        case _:
            return False
