"""find: what it walks, and what it does to what it finds."""

from __future__ import annotations

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, delete, read, run, write
from cmdop.policy.invocation import Invocation, Unanalysable, Word
from cmdop.policy.vocabulary import command

_VALUED = frozenset(
    [
        "-name",
        "-iname",
        "-path",
        "-ipath",
        "-wholename",
        "-iwholename",
        "-lname",
        "-ilname",
        "-regex",
        "-iregex",
        "-type",
        "-xtype",
        "-size",
        "-mtime",
        "-atime",
        "-ctime",
        "-mmin",
        "-amin",
        "-cmin",
        "-newer",
        "-anewer",
        "-cnewer",
        "-maxdepth",
        "-mindepth",
        "-user",
        "-group",
        "-uid",
        "-gid",
        "-perm",
        "-links",
        "-inum",
        "-samefile",
        "-fstype",
        "-printf",
        "-regextype",
        "-used",
        "-context",
    ]
)
_PLAIN = frozenset(
    [
        "-print",
        "-print0",
        "-ls",
        "-prune",
        "-quit",
        "-empty",
        "-depth",
        "-d",
        "-mount",
        "-xdev",
        "-true",
        "-false",
        "-not",
        "-a",
        "-and",
        "-o",
        "-or",
        "-readable",
        "-writable",
        "-executable",
        "-nouser",
        "-nogroup",
        "-follow",
        "-daystart",
        "(",
        ")",
        "!",
        ",",
        "-noleaf",
        "-warn",
        "-nowarn",
        "-ignore_readdir_race",
        "-noignore_readdir_race",
    ]
)
_FILTERS = _VALUED - {"-printf", "-maxdepth"} | {
    "-empty",
    "-readable",
    "-writable",
    "-executable",
    "-prune",
    "!",
    "-not",
}


@command("find", "gfind")
def find(call: Invocation) -> Effects:
    """Walks roots; `-delete` and `-exec` act on what is found there, whatever the filters say."""
    words = list(call.words)
    if [word.text for word in words] in (["--help"], ["--version"]):
        return
    while words and (words[0].text in ("-H", "-L", "-P") or words[0].text.startswith(("-O", "-D"))):
        if words.pop(0).text == "-D" and words:
            words.pop(0)
    roots: list[Word] = []
    while words and not words[0].text.startswith(("-", "(", "!")):
        roots.append(words.pop(0))
    if any(word.globbed and word.text[0] == "*" for word in roots):
        raise Unanalysable("a pattern may expand to an expression of find")
    regions = [beneath(call.path(root)) for root in roots or [Word(".")]]
    for region in regions:
        yield read(region)
    # Filters choose among what lies beneath the roots: then no effect is certain for all of it.
    filtered = any(word.text in _FILTERS for word in words)
    yield from _actions(call, words, regions, certain=not filtered)


def _actions(call: Invocation, words: list[Word], regions: list[str], *, certain: bool) -> Effects:
    while words:
        test = words.pop(0).text
        if (test in _VALUED or test.startswith("-newer")) and words:
            words.pop(0)
        elif test == "-delete":
            for region in regions:
                yield delete(region, certain=certain)
        elif test in ("-exec", "-execdir", "-ok", "-okdir"):
            yield from _execution(test, words, regions)
        elif test in ("-fprint", "-fprint0", "-fls") and words:
            yield from write(call.path(words.pop(0)))
        elif test == "-fprintf" and len(words) > 1:
            yield from write(call.path(words.pop(0)))
            words.pop(0)
        elif not test.startswith("-") and test not in _PLAIN:
            # A path after an expression: every find refuses to start.
            return
        elif test not in _PLAIN:
            raise Unanalysable(f"find {test} is not known")


def _execution(test: str, words: list[Word], regions: list[str]) -> Effects:
    inner: list[Word] = []
    while words and not (words[0].text == ";" or (words[0].text == "+" and inner and inner[-1].text == "{}")):
        inner.append(words.pop(0))
    if words:
        words.pop(0)
    elif "+" in [word.text for word in inner]:
        # Not closed, so that find refuses to start; but not every find says what closes it.
        inner = inner[: [word.text for word in inner].index("+")]
    else:
        raise Unanalysable(f"{test} is not closed")
    for region in regions:
        found = Word(region, globbed=True)
        # In whichever directory it finds something: one that is not known.
        cwd = "" if test.endswith("dir") else None
        yield run([found if word.text == "{}" else _without_braces(word) for word in inner], cwd=cwd)


def _without_braces(word: Word) -> Word:
    if "{}" in word.text:
        raise Unanalysable("find builds a word around what it found")
    return word
