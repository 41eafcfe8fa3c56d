"""What the verbs of git do to a repository: what is recorded, what is lost, what leaves the machine."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import (
    Effects,
    Predicted,
    chmod,
    connect,
    create,
    delete,
    external,
    kept,
    modify,
    read,
    rename,
    run,
    script,
    write,
)
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word, escape

SAFE_SETTINGS = ("color.", "advice.", "user.", "log.", "column.", "status.", "core.quotepath", "core.abbrev", "core.autocrlf", "core.eol", "diff.renames",
                  "diff.algorithm", "init.defaultbranch", "pull.", "push.default", "push.autosetupremote", "fetch.prune", "merge.conflictstyle", "rerere.", "commit.verbose")  # fmt: skip


def _tops(call: Invocation) -> list[str]:
    """Where the repository may begin: git looks for it upwards, which here means as far as the workspace goes."""
    at = call.path(".")
    tops = [at]
    workspaces = {escape(workspace).rstrip("/") for workspace in call.workspaces}
    while at not in ("/", *workspaces) and any(at.startswith(f"{workspace}/") for workspace in workspaces):
        at = posixpath.dirname(at)
        tops.append(at)
    return [top.rstrip("/") for top in tops]


def records(call: Invocation) -> Effects:
    """Writes only below `.git`, and nothing that was there is lost: objects, refs and their log."""
    yield read(beneath(call.path(".")))
    for top in _tops(call):
        yield from kept(*write(f"{top}/.git/**"))
        # Loose refs and objects that are packed or renamed, notes of an operation that is over.
        yield from kept(delete(f"{top}/.git/*/**", certain=False))


def _rewrites(call: Invocation) -> tuple[Predicted, ...]:
    """What may happen to the files of a work tree."""
    tree = _tops(call)[-1]
    return (
        create(f"{tree}/**", certain=False),
        modify(f"{tree}/*/**", certain=False),
        chmod(f"{tree}/*/**", certain=False),
        delete(f"{tree}/*/**", certain=False),
    )


def switches(call: Invocation) -> Effects:
    """Makes the work tree another commit's. git refuses to overwrite or delete what it does not hold."""
    yield from records(call)
    yield from kept(*_rewrites(call))


def discards(call: Invocation) -> Effects:
    """Takes away what git does not hold: uncommitted work, commits that nothing names."""
    yield external("git/discard")
    for top in _tops(call):
        yield from write(f"{top}/.git/**")
        yield delete(f"{top}/.git/*/**", certain=False)
    yield from _rewrites(call)


_CHECKOUT = Options("qftldpmNhsS", "bBcCU", (
    "quiet", "force", "track?", "no-track", "guess", "no-guess", "detach", "orphan=", "ours", "theirs", "merge", "conflict=", "patch", "overlay", "no-overlay",
    "recurse-submodules?", "no-recurse-submodules", "progress", "no-progress", "ignore-other-worktrees", "no-quiet", "overwrite-ignore", "no-overwrite-ignore",
    "pathspec-from-file=", "pathspec-file-nul", "ignore-skip-worktree-bits", "unified=", "inter-hunk-context=", "discard-changes", "create=", "force-create=",
    "staged", "worktree", "source="), lenient=True)  # fmt: skip
_BRANCH = re.compile(
    r"-|HEAD([~^@].*)?|@(\{.*\})?|(main|master|trunk|develop|development|dev|staging|stable|production|next|gh-pages)([~^@].*)?"
    r"|(origin|upstream|feature|feat|fix|bugfix|hotfix|release|chore|refs|topic|user|users|dependabot|renovate|tags|heads|remotes)/[\w./#@+-]+"
    r"|v?\d+(\.\d+)+([-+.]\w+)*|[0-9a-f]{7,40}([~^].*)?|[\w-]+@\{[\w-]+\}"
)
"""What is a branch, a tag or a commit by its form; a bare word may as well name a file, whose changes are lost."""


_DOCUMENTED = {
    "--recurse-submodules": ("checkout", "on-demand", "no", "yes", "true", "false"),
    "--track": ("direct", "inherit"),
}
"""Values that are attached with `=`; standing apart, who wrote them still means the option."""


def _checkout(call: Invocation) -> Effects:
    before = ("", *(word.text for word in call.words))
    words = [word for at, word in enumerate(call.words) if word.text not in _DOCUMENTED.get(before[at], ())]
    parsed = replace(call, argv=(call.argv[0], *words)).parse(_CHECKOUT)
    at = [word.text for word in call.words]
    behind = at[at.index("--") + 1 :] if "--" in at else []
    makes = parsed.has("b", "B", "orphan", "detach", "d", "t", "track")
    loses = parsed.has(
        "f", "force", "p", "patch", "ours", "theirs", "overlay", "no-overlay", "pathspec-from-file", "m", "merge"
    )
    names = parsed.operands
    if (not loses and not behind and parsed.has("b", "B", "orphan") and len(names) <= 1) or (
        not loses
        and not behind
        and len(names) <= 1
        and (makes or not names or (_BRANCH.fullmatch(names[0].text) and not names[0].globbed))
    ):
        yield from switches(call)
    else:
        yield from discards(call)


def _switch(call: Invocation) -> Effects:
    parsed = call.parse(_CHECKOUT)
    yield from discards(call) if parsed.has("f", "force", "discard-changes", "m", "merge") else switches(call)


def _restore(call: Invocation) -> Effects:
    parsed = call.parse(
        Options(
            "qsSWp",
            "s",
            ("source=", "staged", "worktree", "quiet", "patch", "ours", "theirs", "progress", "pathspec-from-file="),
        )
    )
    index_only = parsed.has("S", "staged") and not parsed.has("W", "worktree", "p", "patch")
    yield from records(call) if index_only else discards(call)


def _reset(call: Invocation) -> Effects:
    loses = any(text.text.startswith(("--h", "--m", "--k")) and not text.text.startswith("--mi") for text in call.words)
    yield from discards(call) if loses or any(word.text in ("-p", "--patch") for word in call.words) else records(call)


def _dry(call: Invocation) -> bool:
    """Is it only said what would be done? A later or earlier `-f` in the same word does not change that for git, but here it does."""
    flags = [word.text for word in call.words if word.text.startswith("-")]
    dry = any(text == "--dry-run" or re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", text) for text in flags)
    forced = any(text == "--force" or re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*", text) for text in flags)
    return dry and not forced


def _clean(call: Invocation) -> Effects:
    yield from _looks(call) if _dry(call) else discards(call)


def _looks(call: Invocation) -> Effects:
    yield read(beneath(call.path(".")))


def _remove(call: Invocation) -> Effects:
    parsed = call.parse(Options("frnq", "", ("cached", "force", "dry-run", "quiet", "ignore-unmatch", "sparse")))
    yield from records(call)
    if parsed.has("f", "force") and not parsed.has("cached"):
        yield external("git/discard")
    if not parsed.has("cached", "n", "dry-run"):
        for word in parsed.operands:
            yield from kept(delete(call.path(word), certain=not parsed.has("f", "force")))


def _move(call: Invocation) -> Effects:
    parsed = call.parse(Options("fknv", "", ("force", "dry-run", "verbose")))
    if parsed.has("f", "force"):
        yield external("git/discard")
    for word in parsed.operands[:-1]:
        yield from kept(rename(call.path(word), certain=False))
    yield from switches(call)


def _branch(call: Invocation) -> Effects:
    parsed = call.parse(Options("dDmMcCfqvtlari", "u", ("delete", "force", "move", "copy", "track?", "no-track", "set-upstream-to=", "unset-upstream", "quiet", "verbose",
                                                         "edit-description", "remotes", "all", "list", "create-reflog", "recurse-submodules")))  # fmt: skip
    if parsed.has("D", "M", "C", "f", "force"):
        yield external("git/drop-commits")
    yield from records(call)


def _tag(call: Invocation) -> Effects:
    parsed = call.parse(
        Options(
            "asdfvln",
            "mFu",
            ("annotate", "sign", "delete", "force", "message=", "file=", "local-user=", "cleanup=", "list", "no-sign"),
        )
    )
    if parsed.has("d", "f", "delete", "force"):
        yield external("git/drop-commits")
    yield from records(call)


def _stash(call: Invocation) -> Effects:
    verb = next((word.text for word in call.words if not word.text.startswith("-")), "push")
    if verb in ("drop", "clear") or verb not in ("push", "save", "pop", "apply", "branch", "create", "store"):
        yield external("git/drop-commits")
    yield from switches(call)


def _worktree(call: Invocation) -> Effects:
    verb, *rest = call.words
    parsed = replace(call, argv=(verb, *rest)).parse(
        Options(
            "fdqvn",
            "bB",
            (
                "force",
                "detach",
                "checkout",
                "no-checkout",
                "lock",
                "reason=",
                "orphan",
                "quiet",
                "track",
                "guess-remote",
                "dry-run",
                "expire=",
            ),
        )
    )
    if parsed.has("f", "force") or verb.text not in ("add", "remove", "prune", "lock", "unlock", "move", "repair"):
        yield external("git/discard")
    yield from records(call)
    place = parsed.operands[:2] if verb.text == "move" else parsed.operands[:1]
    if verb.text in ("remove", "move"):
        yield from kept(*(delete(call.path(word), certain=verb.text == "remove") for word in place[:1]))
    if verb.text in ("add", "move"):
        yield from (create(beneath(call.path(word))) for word in place[-1:])


def _record_verb(loses: tuple[str, ...] = ()):
    def verb(call: Invocation) -> Effects:
        if any(word.text.startswith(loses) for word in call.words if loses):
            yield external("git/drop-commits")
        yield from records(call)

    return verb


def _commit(call: Invocation) -> Effects:
    """Records; hooks that were installed run, and installing them is what policy holds."""
    yield from switches(call)


def _rewrite(call: Invocation) -> Effects:
    """Rebase, merge and the like: they refuse on a dirty tree, and what they replace stays in the log of refs."""
    if call.program == "bisect" and call.words[:1] and call.words[0].text == "run":
        yield run(call.words[1:])
    runs = call.program == "rebase"
    for at, word in enumerate(call.words):
        if runs and word.text in ("-x", "--exec") and at + 1 < len(call.words):
            yield script(call.words[at + 1].text)
        elif runs and word.text.startswith(("--exec=", "-x")):
            yield script(word.text.removeprefix("--exec=").removeprefix("-x"))
        elif word.text in ("-i", "--interactive", "--edit", "--edit-todo", "-e"):
            raise Unanalysable("it opens an editor")
        elif word.text in ("--abort", "--quit", "--skip", "--strategy", "-s"):
            yield external("git/discard", certain=False)
    yield from switches(call)


def _fetch(call: Invocation) -> Effects:
    yield connect("*:*")
    if any(word.text.startswith(("--upload-pack", "ext::")) for word in call.words):
        raise Unanalysable("it says which program to run")
    yield from records(call)


def _pull(call: Invocation) -> Effects:
    yield connect("*:*")
    yield from switches(call)


def _push(call: Invocation) -> Effects:
    yield connect("*:*")
    texts = [word.text for word in call.words]
    if any(text.startswith(("--receive-pack", "--exec", "ext::")) for text in texts):
        raise Unanalysable("it says which program to run")
    rewrites = any(
        text in ("--mirror", "--delete", "-d", "--prune")
        or text.startswith(("--force", "+", ":"))
        or re.fullmatch(r"-[a-z]*f[a-z]*", text)
        for text in texts
    )
    yield external("git-remote/rewrite-history" if rewrites else "git-remote/push")


def _config(call: Invocation) -> Effects:
    """Settings that name no program. git writes them beside the old file (`config.lock`) and takes that one's place."""
    names = [word.text for word in call.words if not word.text.startswith("-")]
    names = names[1:] if names[:1] in (["set"], ["unset"]) else names
    # An alias of one more git command is no verb that anybody knows, so that using it is what is judged.
    alias = len(names) > 1 and names[0].lower().startswith("alias.") and not names[1].lstrip().startswith("!")
    if not names or not (alias or names[0].lower().startswith(SAFE_SETTINGS)):
        yield external("git/setting")
        raise Unanalysable("a setting of git may name programs to run")
    texts = [word.text for word in call.words]
    if "--global" in texts:
        yield modify(f"{call.home}/.gitconfig", certain=False)
    elif any(text in ("--system", "-f", "--file", "--blob") or text.startswith("--file=") for text in texts):
        raise Unanalysable("which file of settings changes is not known")
    else:
        for top in _tops(call):
            yield from kept(*write(f"{top}/.git/config*"))


def _remote(call: Invocation) -> Effects:
    verb = call.words[0].text if call.words else ""
    if verb in ("show", "update", "prune"):
        if verb != "show" or len(call.words) > 1:
            yield connect("*:*")
    elif verb not in ("add", "rename", "remove", "rm", "set-url", "set-branches", "set-head"):
        raise Unanalysable(f"what `git remote {verb}` does is not known")
    yield from records(call)


def _submodule(call: Invocation) -> Effects:
    verb = next((word.text for word in call.words if not word.text.startswith("-")), "")
    if verb == "foreach":
        raise Unanalysable("it runs a command in each submodule")
    yield connect("*:*")
    yield from discards(call)


def _housekeeping(call: Invocation) -> Effects:
    if any(
        word.text.startswith(("--prune", "--expire", "expire", "delete")) for word in call.words
    ) or call.program in ("prune",):
        yield external("git/drop-commits")
    yield from records(call)


def _loses_history(call: Invocation) -> Effects:
    yield external("git/drop-commits")
    yield from discards(call)


def _init(call: Invocation) -> Effects:
    """Makes a repository in a directory, which it creates if need be."""
    parsed = call.parse(Options("q", "b", ("quiet", "bare", "initial-branch=", "object-format=")))
    if len(parsed.operands) > 1:
        raise Unanalysable("git init takes one directory")
    directory = call.path(parsed.operands[0] if parsed.operands else ".")
    if parsed.operands:
        yield create(directory, certain=False)
    yield from kept(*write(beneath(directory if parsed.has("bare") else f"{directory.rstrip('/')}/.git")))


def _clone(call: Invocation) -> Effects:
    """Makes a repository and its work tree in a new directory, named after the remote one unless told."""
    long = ("quiet", "verbose", "progress", "no-checkout", "bare", "mirror", "branch=", "depth=", "single-branch",
            "no-single-branch", "no-tags", "origin=", "jobs=", "filter=", "sparse", "recurse-submodules?", "recursive", "shallow-submodules")  # fmt: skip
    parsed = call.parse(Options("qvnls", "boj", long))
    if not 1 <= len(parsed.operands) <= 2 or parsed.operands[0].globbed:
        raise Unanalysable("what git clone copies, and where, is not known")
    remote = parsed.operands[0]
    if remote.text.startswith(("ext::", "-")):
        raise Unanalysable("the remote names a program to run")
    yield connect("*:*")
    if len(parsed.operands) == 2:
        yield create(beneath(call.path(parsed.operands[1])))
        return
    name = posixpath.basename(remote.text.rstrip("/").removesuffix("/.git").rstrip("/")).rpartition(":")[2]
    name = name.removesuffix(".git") + (".git" if parsed.has("bare", "mirror") else "")
    if name in ("", ".", "..", ".git"):
        raise Unanalysable("where git clone copies to is not known")
    yield create(beneath(call.path(name)))


def _ls_remote(call: Invocation) -> Effects:
    yield connect("*:*")


def _archive(call: Invocation) -> Effects:
    parsed = call.parse(
        Options("vl0123456789", "o", ("format=", "prefix=", "output=", "worktree-attributes", "list", "verbose"))
    )
    yield from _looks(call)
    for word in parsed.values("o", "output"):
        yield from write(call.path(word))


def _format_patch(call: Invocation) -> Effects:
    yield from _looks(call)
    if not any(word.text in ("--stdout",) for word in call.words):
        # `-3` is the last three commits.
        words = tuple(word for word in call.words if not re.fullmatch(r"-\d+", word.text))
        parsed = replace(call, argv=(call.argv[0], *words)).parse(
            Options(
                "nNksvp",
                "ov",
                (
                    "output-directory=",
                    "cover-letter",
                    "numbered",
                    "signoff",
                    "thread?",
                    "to=",
                    "cc=",
                    "root",
                    "reroll-count=",
                ),
            )
        )
        where = call.path((parsed.values("o", "output-directory") or [Word(".")])[-1])
        name = "*.patch" if parsed.has("v", "reroll-count") else "????-*.patch"
        yield from write(f"{where.rstrip('/')}/{name}")


def _bundle(call: Invocation) -> Effects:
    """Packs history into a file, or looks at one; to unbundle writes objects."""
    verb, *rest = [word for word in call.words if not word.text.startswith("-")] or [Word("")]
    if verb.text not in ("create", "verify", "list-heads", "unbundle") or not rest:
        raise Unanalysable(f"what `git bundle {verb.text}` does is not known")
    yield from _looks(call)
    if verb.text == "create":
        yield from write(call.path(rest[0]))
    elif verb.text == "unbundle":
        yield from records(call)
    yield read(call.path(rest[0]), certain=verb.text != "create")


def _maintenance(call: Invocation) -> Effects:
    """Packs and prunes what nothing names; to register it for later is another matter."""
    verb = next((word.text for word in call.words if not word.text.startswith("-")), "")
    if verb != "run":
        raise Unanalysable(f"git maintenance {verb} changes what is run later")
    if any("prefetch" in word.text for word in call.words):
        yield connect("*:*")
    yield from records(call)


def _request_pull(call: Invocation) -> Effects:
    yield connect("*:*")
    yield from _looks(call)


MAKERS = {
    "bundle": _bundle,
    "request-pull": _request_pull,
    "init": _init,
    "clone": _clone,
    "ls-remote": _ls_remote,
    "archive": _archive,
    "format-patch": _format_patch,
}
"""What needs no repository to write to."""
VERBS = {
    "add": _record_verb(),
    "stage": _record_verb(),
    "commit": _commit,
    "branch": _branch,
    "tag": _tag,
    "checkout": _checkout,
    "switch": _switch,
    "restore": _restore,
    "merge": _rewrite,
    "rebase": _rewrite,
    "cherry-pick": _rewrite,
    "revert": _rewrite,
    "am": _rewrite,
    "stash": _stash,
    "apply": discards,
    "mv": _move,
    "reset": _reset,
    "clean": _clean,
    "rm": _remove,
    "fetch": _fetch,
    "pull": _pull,
    "push": _push,
    "worktree": _worktree,
    "config": _config,
    "remote": _remote,
    "submodule": _submodule,
    "notes": _record_verb(),
    "bisect": _rewrite,
    "maintenance": _maintenance,
    "gc": _housekeeping,
    "reflog": _housekeeping,
    "repack": _record_verb(("-d", "-a", "-A")),
    "prune": _housekeeping,
    "pack-refs": _record_verb(),
    "update-index": _record_verb(),
    "update-ref": _record_verb(("-d", "--stdin")),
    "write-tree": _record_verb(),
    "hash-object": _record_verb(),
    "filter-branch": _loses_history,
    "filter-repo": _loses_history,
    "checkout-index": discards,
    "read-tree": discards,
}
"""What is done to a repository."""
