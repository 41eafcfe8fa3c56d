"""Builds and tests: what only reads sources, what compiles them, and what runs code of the project."""

from __future__ import annotations

import posixpath
import re

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, connect, create, delete, effect, external, look, modify, read, write
from cmdop.policy.invocation import Invocation, Unanalysable, Word
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command

_CHECKERS = frozenset(
    [
        "shellcheck",
        "hadolint",
        "yamllint",
        "actionlint",
        "typos",
        "codespell",
        "markdownlint",
        "markdownlint-cli2",
        "cppcheck",
        "pycodestyle",
        "pyflakes",
        "bandit",
        "vulture",
        "radon",
        "pyright",
        "basedpyright",
        "mdl",
        "proselint",
        "tfsec",
        "gitleaks",
        "jsonlint",
        "xmlwf",
        "dotenv-linter",
        "luacheck",
        "golint",
        "staticcheck",
    ]
)
_CHECKER_WRITES = (
    "--fix",
    "-o",
    "--output",
    "--write",
    "--in-place",
    "-i",
    "-w",
    "--report",
    "--init",
    "--external",
    "--rcfile",
    "--dump",
    "--addon",
    "--project",
    "--install",
    "--writechanges",
    "--createstub",
)


@command(*sorted(_CHECKERS))
def checker(call: Invocation) -> Effects:
    """Reads sources and complains."""
    for word in call.words:
        if word.text.startswith(_CHECKER_WRITES) and not word.text.startswith("--output-format"):
            raise Unanalysable(f"{call.program} {word.text} writes or runs something")
    yield read(beneath(call.path(".")))
    for word in operands(call):
        if word.text != "-" and re.search(r"[./]", word.text):
            yield read(beneath(call.path(word)))


@command(
    "gofmt",
    "goimports",
    "rustfmt",
    "black",
    "isort",
    "clang-format",
    "shfmt",
    "autopep8",
    "yapf",
    "taplo",
    "dprint",
    "swiftformat",
    "buildifier",
    "terraform-fmt",
    "ruff",
    "djlint",
    "autoflake",
    "pyupgrade",
    "stylua",
    "nixfmt",
    "ktlint",
    "zig",
)
def formatter(call: Invocation) -> Effects:
    """Prints sources in form, or rewrites them in place."""
    texts = [word.text for word in call.words]
    if call.program == "zig" and texts[:1] != ["fmt"]:
        raise Unanalysable("zig builds and runs")
    tree = beneath(call.path("."))
    yield read(tree)
    printing = {
        "gofmt": "-w",
        "goimports": "-w",
        "clang-format": "-i",
        "shfmt": "-w",
        "autopep8": "-i",
        "yapf": "-i",
        "autoflake": "-i",
    }
    checks = any(
        text
        in (
            "--check",
            "--diff",
            "-c",
            "-d",
            "-l",
            "--list",
            "--check-only",
            "--version",
            "lint",
            "--dry-run",
            "--stdin",
        )
        for text in texts
    )
    if call.program == "ruff":
        verb = next((text for text in texts if not text.startswith("-")), "check")
        rewrites = (verb == "format" and not checks) or any(
            text.startswith(("--fix", "--unsafe-fixes", "--add-noqa")) for text in texts
        )
        if verb not in ("check", "format", "rule", "config", "linter", "version", "analyze"):
            raise Unanalysable(f"what `ruff {verb}` does is not known")
    elif call.program in printing:
        rewrites = any(text == printing[call.program] or text.startswith("--in-place") for text in texts)
    else:
        rewrites = not checks
    if rewrites:
        named = [word for word in operands(call) if word.text not in ("format", "check", "fmt", ".", "./", "./...")]
        for word in named:
            yield modify(call.path(word), certain=False)
        if not named or any("." not in word.text.rpartition("/")[2] for word in named):
            yield modify(tree, certain=False)


_COMPILERS = [
    "gcc",
    "g++",
    "cc",
    "c++",
    "clang",
    "clang++",
    "cpp",
    "as",
    "ld",
    "gfortran",
    "nasm",
    "yasm",
    "rustc",
    "tsc",
    "protoc",
    "sass",
    "esbuild",
    "pandoc",
    "dot",
    "flex",
    "lex",
]


_MADE = {
    **dict.fromkeys(
        ["gcc", "g++", "cc", "c++", "clang", "clang++", "gfortran"], ("a.out", "*.o", "*.d", "*.gch", "*.s", "*.mod")
    ),
    **dict.fromkeys(("as", "ld", "nasm", "yasm"), ("a.out", "*.o")),
    "tsc": ("**/*.js", "**/*.js.map", "**/*.d.ts", "**/*.tsbuildinfo"),
    "sass": (),
    "dot": (),
    "cpp": (),
}
"""What stands in the directory after a compilation that does not say where to."""


@command(*_COMPILERS)
def compiler(call: Invocation) -> Effects:
    """Compiles operands; what it makes lies beside them or where `-o` says."""
    texts = [word.text for word in call.words]
    if texts in (["--version"], ["-v"], ["-V"], ["--help"], ["-version"]):
        return
    for text in texts:
        if (
            text.startswith(
                (
                    "-fplugin",
                    "-specs",
                    "--specs",
                    "-wrapper",
                    "-Xclang",
                    "-B",
                    "@",
                    "--plugin",
                    "-processor",
                    "-J",
                    "--watch",
                    "--init",
                    "--build",
                    "--filter",
                    "--lua-filter",
                    "--pdf-engine",
                    "-dynamic-linker",
                )
            )
            or re.search(r"plugin|linker", text)
            or (call.program == "rustc" and text.startswith(("-C", "--extern", "-L")))
        ):
            raise Unanalysable(f"{call.program} {text} may run programs")
    outputs: list[Word] = []
    # Printed, unless `-o` says otherwise.
    prints = any(
        re.fullmatch(r"-E|-MM?|-fsyntax-only|-dump\w+|-print-[\w-]+|--print(=.*)?|--explain|-vV|-###", text)
        for text in texts
    )
    beside = [f"{call.path(word)}.*" for word in operands(call)] if call.program == "dot" and "-O" in texts else []
    for at, word in enumerate(call.words):
        if word.text in ("-o", "--output", "-d", "--out-dir", "--outDir", "--outfile", "--outdir") and at + 1 < len(
            texts
        ):
            outputs.append(call.words[at + 1])
        elif re.match(
            r"(-o|--output=|--outfile=|--outdir=|--outDir=|--\w+_out=)(.+)", word.text
        ) and not word.text.startswith("-only"):
            outputs.append(
                Word(
                    re.sub(r"^(-o|--output=|--outfile=|--outdir=|--outDir=|--\w+_out=)", "", word.text).rpartition(":")[
                        2
                    ]
                )
            )
    yield read(beneath(call.path(".")))
    for word in operands(call):
        yield read(call.path(word))
    if call.program == "tsc" and any(text in ("--noEmit", "--showConfig", "--listFiles") for text in texts):
        return
    for word in outputs:
        if word.text not in ("/dev/null", "-"):
            yield from write(call.path(word))
    for place in beside:
        yield from write(place)
    if prints and not any(
        text.startswith(("-MD", "-MMD", "-MF", "-MJ", "-save-temps", "--save-temps", "--emit")) for text in texts
    ):
        return
    if any(text.startswith(("-M", "-save-temps", "--save-temps")) for text in texts):
        # What a source depends on, and what came between: beside what is made, or in the directory.
        for word in outputs:
            yield from write(f"{posixpath.splitext(call.path(word))[0]}.*")
        yield from write(f"{call.path('.').rstrip('/')}/*.*")
        for at, text in enumerate(texts[:-1]):
            if text == "-MF":
                yield from write(call.path(call.words[at + 1]))
    if not outputs:
        for name in _MADE.get(call.program, ("**",)):
            yield from write(f"{call.path('.').rstrip('/')}/{name}")


_CARGO_LOOKS = frozenset(
    [
        "metadata",
        "tree",
        "locate-project",
        "pkgid",
        "verify-project",
        "version",
        "help",
        "--version",
        "--list",
        "read-manifest",
    ]
)


@command("cargo")
def cargo(call: Invocation) -> Effects:
    """Builds run build scripts and macros of every dependency."""
    words = [
        word.text
        for word in operands(
            call,
            frozenset(
                ["--manifest-path", "-p", "--package", "--features", "--target", "-j", "--color", "--config", "-Z"]
            ),
        )
        if not word.text.startswith("+")
    ]
    first = next((word.text for word in call.words), "")
    verb = words[0] if words else first
    if not verb or verb in ("--version", "-V", "--list", "--help", "-h") or verb in _CARGO_LOOKS:
        yield read(beneath(call.path(".")))
    elif verb in ("search", "info", "owner", "login", "logout", "publish", "yank"):
        yield connect("*:*")
        if verb not in ("search", "info"):
            yield external("crates.io/" + verb)
    elif verb in ("install", "add", "update", "fetch", "generate-lockfile", "vendor"):
        yield connect("*:*")
        for name in words[1:] or ["*"]:
            yield effect("package.install", name if re.fullmatch(r"[\w@.+-]+", name) else "*")
    elif verb in ("uninstall", "remove", "rm"):
        for name in words[1:] or ["*"]:
            yield effect("package.remove", name if re.fullmatch(r"[\w@.+-]+", name) else "*")
    elif verb == "fmt":
        yield read(beneath(call.path(".")))
        if not any(word.text == "--check" for word in call.words):
            yield modify(call.path(".") + "/**", certain=False)
    elif verb == "clean":
        yield delete(call.path("target"), certain=True)
    else:
        raise Unanalysable(f"`cargo {verb}` runs code of the project and of what it depends on")


@command("go")
def go(call: Invocation) -> Effects:
    """Compiling runs nothing of the project; testing, running and generating do."""
    words = [word.text for word in operands(call, frozenset(["-o", "-C", "-run", "-ldflags", "-tags", "-mod"]))]
    texts = [word.text for word in call.words]
    verb = words[0] if words else ""
    if any(text.startswith(("-toolexec", "-exec", "-vettool", "-overlay", "-modfile")) for text in texts):
        raise Unanalysable("go runs a program of the caller's choice")
    if (verb in ("version", "env", "list", "doc", "help", "") and not any(text in ("-w", "-u") for text in texts)) or (
        verb == "mod" and words[1:2] in (["graph"], ["why"], ["verify"])
    ):
        yield read(beneath(call.path(".")))
    elif verb in ("vet", "build", "fmt", "fix"):
        yield read(beneath(call.path(".")))
        if verb == "build":
            outputs = [call.words[at + 1] for at, text in enumerate(texts[:-1]) if text == "-o"]
            for word in outputs or [Word("*", globbed=True)]:
                yield create(call.path(word), certain=False)
        elif verb != "vet":
            yield modify(call.path(".") + "/**", certain=False)
    elif verb in ("get", "install", "mod"):
        yield connect("*:*")
        yield effect("package.install", "*")
    elif verb == "clean":
        yield delete(f"{call.home}/.cache/go-build", certain=False)
    else:
        raise Unanalysable(f"`go {verb}` runs code of the project")


@command("virtualenv", "pyenv", "rbenv", "nodenv", "direnv", "mise", "volta", "corepack", "fnm")
def environments(call: Invocation) -> Effects:
    """Environments of languages."""
    texts = [word.text for word in call.words]
    if texts and texts[0] in (
        "versions",
        "version",
        "list",
        "ls",
        "which",
        "--version",
        "root",
        "whence",
        "current",
        "status",
        "where",
    ):
        yield look()
        return
    if call.program == "virtualenv" and texts and not texts[-1].startswith("-"):
        yield create(beneath(call.path(call.words[-1])))
        return
    raise Unanalysable(f"what `{call.program} {texts[0] if texts else ''}` does is not known")


@command("strip", "objcopy", "ranlib", "patchelf", "install_name_tool", "codesign")
def rewritten(call: Invocation) -> Effects:
    """Rewrites compiled files in place, or writes them elsewhere with `-o` or a second operand."""
    for at, word in enumerate(call.words[:-1]):
        if word.text == "-o":
            yield from write(call.path(call.words[at + 1]))
    for word in operands(call, frozenset(["-o", "-j", "-K", "-N", "-R", "--set-rpath", "--set-interpreter", "-s"])):
        yield read(call.path(word))
        yield from write(call.path(word))
