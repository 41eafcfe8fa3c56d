"""Interpreters: a program given on the command line is read if it is simple; anything else may do anything."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from cmdop.policy.effects import Effects, read, run, script
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

_PURE_CALLS = frozenset(
    [
        "print",
        "len",
        "str",
        "int",
        "float",
        "bool",
        "list",
        "dict",
        "set",
        "tuple",
        "range",
        "sum",
        "min",
        "max",
        "sorted",
        "reversed",
        "enumerate",
        "zip",
        "map",
        "filter",
        "abs",
        "round",
        "repr",
        "ord",
        "chr",
        "hex",
        "bin",
        "oct",
        "divmod",
        "pow",
        "any",
        "all",
        "isinstance",
        "type",
        "format",
        "bytes",
        "hash",
        "id",
        "iter",
        "next",
        "ascii",
        "frozenset",
        "complex",
        "slice",
    ]
)
_BUILT_IN = frozenset(["sys", "time", "itertools"])
"""Modules that are part of the interpreter, so that no file of the working directory stands in for them."""
_PURE_MODULES = frozenset(
    [
        "math",
        "json",
        "re",
        "datetime",
        "random",
        "string",
        "collections",
        "statistics",
        "hashlib",
        "base64",
        "binascii",
        "textwrap",
        "decimal",
        "fractions",
        "calendar",
        "secrets",
        "pprint",
        "html",
        "unicodedata",
        "zoneinfo",
        "struct",
        "bisect",
        "heapq",
    ]
)
"""Modules of which no function that is reached by plain attributes changes, runs or contacts anything."""
_IMPURE = frozenset(
    [
        "exec",
        "eval",
        "compile",
        "open",
        "input",
        "__import__",
        "globals",
        "locals",
        "vars",
        "setattr",
        "delattr",
        "getattr",
        "breakpoint",
    ]
)
_IMPURE_ATTRIBUTES = frozenset(
    [
        "modules",
        "settrace",
        "setprofile",
        "meta_path",
        "path_hooks",
        "path",
        "_getframe",
        "addaudithook",
        "breakpointhook",
        "displayhook",
        "excepthook",
        "open",
        "popen",
        "system",
        "os",
        "io",
        "sys",
        "subprocess",
        "builtins",
        "codecs",
        "linecache",
        "tokenize",
        "ctypes",
        "socket",
        "urllib",
        "request",
        "popen2",
        "spawn",
        "libc_ver",
        "architecture",
        "mac_ver",
        "win32_ver",
        "processor",
        "uname",
        "node",
        "_syscmd_ver",
        "urlopen",
        "load",
        "dump",
        "writelines",
        "Formatter",
        "register",
    ]
)


def _python(text: str, *, isolated: bool) -> Effects:
    """A program of pure expressions: it prints, computes and imports what does no more."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unanalysable("the Python program cannot be read") from None
    imported: set[str] = set()
    for count, node in enumerate(ast.walk(tree)):
        if count > 2_000 or isinstance(
            node,
            ast.While
            | ast.AsyncFunctionDef
            | ast.With
            | ast.AsyncWith
            | ast.ClassDef
            | ast.Match
            | ast.Delete
            | ast.Global
            | ast.Nonlocal,
        ):
            raise Unanalysable("the Python program is more than a few expressions")
        match node:
            case ast.FunctionDef(decorator_list=[_, *_]):
                raise Unanalysable("the Python program calls a decorator")
            case ast.Import(names=names):
                for name in names:
                    _pure_module(name.name, isolated=isolated)
                    imported.add((name.asname or name.name).partition(".")[0])
            case ast.ImportFrom(module=module, names=names):
                _pure_module(module or "", isolated=isolated)
                if any(name.name in _IMPURE_ATTRIBUTES or name.name == "*" for name in names):
                    raise Unanalysable("the Python program imports what may do more than compute")
                imported.update(name.asname or name.name for name in names)
            case ast.Call(func=ast.Name(id=name)):
                if name not in _PURE_CALLS and name not in imported and not _is_defined(tree, name):
                    raise Unanalysable(f"the Python program calls `{name}`")
            case ast.Call(func=ast.Attribute()):
                pass
            case ast.Call():
                raise Unanalysable("the Python program calls what is computed")
            case ast.Name(id=name) if name in _IMPURE or name.startswith("__"):
                raise Unanalysable(f"the Python program uses `{name}`")
            case ast.Attribute(attr=name) if name.startswith("_") or name in _IMPURE_ATTRIBUTES:
                raise Unanalysable(f"the Python program uses `.{name}`")
            case _:
                pass
    return iter(())


def _pure_module(name: str, *, isolated: bool) -> None:
    if name in _BUILT_IN or (isolated and name in _PURE_MODULES):
        return
    if name in _PURE_MODULES:
        raise Unanalysable(f"`{name}` may be a file of the working directory; run python with -I")
    raise Unanalysable(f"the Python program imports `{name}`")


def _is_defined(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree))


_STRING = r"(?:\"[^\"\\$`#{}]*\"|'[^'\\$`#{}]*')"
_VALUE = rf"(?:{_STRING}|-?\d+(?:\.\d+)?(?:\s*[-+*/%]\s*\d+(?:\.\d+)?)*|process\.versions?(?:\.\w+)?|RUBY_VERSION|\$\]|\$\^V|PHP_VERSION)"
_PRINTS = {
    "node": re.compile(rf"\s*(?:console\.(?:log|error|info)\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)\s*;?\s*)+"),
    "perl": re.compile(rf"\s*(?:(?:print|say)\s*\(?\s*{_VALUE}(?:\s*[,.]\s*{_VALUE})*\s*\)?\s*(?:;\s*|$))+"),
    "ruby": re.compile(rf"\s*(?:(?:puts|print|p)\s*\(?\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)?\s*(?:[;\n]\s*|$))+"),
    "php": re.compile(rf"\s*(?:(?:echo|print)\s*\(?\s*{_VALUE}(?:\s*[,.]\s*{_VALUE})*\s*\)?\s*(?:;\s*|$))+"),
    "lua": re.compile(rf"\s*(?:print\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)\s*;?\s*)+"),
}
"""Programs that do nothing but print constants."""

_VERSION = frozenset(["--version", "-V", "-v", "-VV", "--help", "-h", "version"])
_CODE = {"python": "c", "node": "ep", "perl": "eE", "ruby": "e", "php": "r", "lua": "e"}
_FAMILIES = {
    "python2": "python",
    "python3": "python",
    "pypy": "python",
    "pypy3": "python",
    "nodejs": "node",
    "bun": "node",
    "deno": "node",
    "luajit": "lua",
}


def family(program: str) -> str:
    """`python3.11` is `python`."""
    bare = re.sub(r"[\d.]+$", "", program)
    return _FAMILIES.get(program, _FAMILIES.get(bare, bare))


@command(
    *[
        "python",
        "python2",
        "python3",
        "python3.8",
        "python3.9",
        "python3.10",
        "python3.11",
        "python3.12",
        "python3.13",
        "python3.14",
        "pypy",
        "pypy3",
        "node",
        "nodejs",
        "bun",
        "deno",
        "perl",
        "ruby",
        "php",
        "lua",
        "luajit",
    ]
)
def interpreter(call: Invocation) -> Effects:
    """Runs a program in another language."""
    words = [word.text for word in call.words]
    if len(words) == 1 and words[0] in _VERSION:
        return
    language = family(call.program)
    if language == "python":
        yield from _python_command(call)
        return
    if len(words) == 2 and words[0] in [f"-{letter}" for letter in _CODE[language]] + (
        ["--eval", "--print"] if language == "node" else []
    ):
        pattern = _PRINTS[language]
        if pattern.fullmatch(words[1]) or (words[0] in ("-p", "--print") and re.fullmatch(_VALUE, words[1])):
            return
    if (
        words[:1] in (["--check"], ["-c"])
        and language in ("node", "perl", "ruby")
        and len(words) == 2
        and language != "perl"
    ):
        yield read(call.path(call.words[1]))
        return
    raise Unanalysable(f"a {language} program may do anything")


def _python_command(call: Invocation) -> Effects:
    words = call.words
    at = next(
        (
            at
            for at, word in enumerate(words)
            if word.text.startswith("-") and not word.text.startswith("--") and word.text[-1] in "cm"
        ),
        None,
    )
    # Behind the program or the module the words are its own.
    own = words if at is None else words[: at + 2]
    parsed = replace(call, argv=(call.argv[0], *own)).parse(Options("bBdEhiIOPqRsSuvx?", "cmWX", permute=False))
    if parsed.has("i") or at is None or at + 1 >= len(words):
        raise Unanalysable("a Python program may do anything")
    text, rest = words[at + 1], words[at + 2 :]
    if text.globbed:
        raise Unanalysable("the Python program is not known")
    if words[at].text.endswith("c"):
        yield from _python(text.text, isolated=parsed.has("I", "P"))
        return
    yield from _python_module(call, text.text, rest)


def _python_module(call: Invocation, module: str, rest: tuple[Word, ...]) -> Effects:
    """Modules that are programs of their own; like any module, a file of the working directory may stand in for one."""
    programs = [
        "pip",
        "pytest",
        "unittest",
        "venv",
        "mypy",
        "ruff",
        "black",
        "build",
        "pyright",
        "coverage",
        "flake8",
        "pylint",
        "isort",
        "twine",
        "alembic",
        "django",
        "flask",
    ]
    if module not in programs:
        raise Unanalysable(f"what the module {module} does is not known")
    yield run(
        (
            Word({"unittest": "python-unittest", "venv": "virtualenv", "build": "python-build"}.get(module, module)),
            *rest,
        )
    )


@command(
    "irb",
    "ipython",
    "jupyter",
    "R",
    "Rscript",
    "julia",
    "ghci",
    "runghc",
    "osascript",
    "powershell",
    "pwsh",
    "cmd",
    "tclsh",
    "wish",
    "guile",
    "racket",
    "swift",
    "scala",
    "groovy",
    "jshell",
    "java",
    "dotnet",
    "erl",
    "elixir",
    "iex",
    "mono",
    "wine",
)
def other(call: Invocation) -> Effects:
    """Other interpreters."""
    if [word.text for word in call.words] in (["--version"], ["-version"], ["--help"], ["--info"]):
        return
    raise Unanalysable(f"a program run by {call.program} may do anything")
    yield


@command("eval")
def evaluated(call: Invocation) -> Effects:
    """`eval` behind another program's name; the shell's own is resolved before."""
    if any(word.globbed for word in call.words):
        raise Unanalysable("what eval runs is not known")
    yield script(" ".join(word.text for word in call.words))
