"""Programs that run other programs: under another name, elsewhere, with a limit, or once for each input."""

from __future__ import annotations

import re
import shlex

from cmdop.policy.effects import Effects, effect, external, read, run, script
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

EXECUTION_VARIABLES = frozenset(
    [
        "PATH",
        "CDPATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "SHELL",
        "SHELLOPTS",
        "BASHOPTS",
        "PROMPT_COMMAND",
        "PS4",
        "PAGER",
        "MANPAGER",
        "EDITOR",
        "VISUAL",
        "BROWSER",
        "LESSOPEN",
        "LESSCLOSE",
        "LESS",
        "LESSKEY",
        "SUDO_ASKPASS",
        "SSH_ASKPASS",
        "RSYNC_RSH",
        "CVS_RSH",
        "PERL5OPT",
        "PERL5LIB",
        "PERL5DB",
        "PERLLIB",
        "RUBYOPT",
        "RUBYLIB",
        "NODE_OPTIONS",
        "NODE_PATH",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "CLASSPATH",
        "LUA_INIT",
        "GCONV_PATH",
        "TAR_OPTIONS",
        "TAPE",
        "MAKEFLAGS",
        "GNUMAKEFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "CC",
        "CXX",
        "CPP",
        "LD",
        "AS",
        "GOFLAGS",
        "GOROOT",
        "GOPATH",
        "GOENV",
        "HOME",
        "CURL_HOME",
        "WGETRC",
        "XDG_CONFIG_HOME",
        "DOCKER_HOST",
        "DOCKER_CONFIG",
        "KUBECONFIG",
        "RIPGREP_CONFIG_PATH",
        "ACK_OPTIONS",
        "GREP_OPTIONS",
        "BAT_PAGER",
        "BAT_CONFIG_PATH",
        "OPENSSL_CONF",
        "ANSIBLE_CONFIG",
        "AWS_CONFIG_FILE",
        "CLOUDSDK_CONFIG",
        "TERMINFO",
        "INPUTRC",
        "ZDOTDIR",
        "JQ_LIBRARY_PATH",
        "SQLITERC",
        "PSQLRC",
        "PGOPTIONS",
        "MYSQL_HOME",
        "GNUPGHOME",
        "PKEXEC_UID",
        "COMPILER_PATH",
        "GCC_EXEC_PREFIX",
        "HISTFILE",
    ]
)
_EXECUTION_PREFIXES = (
    "LD_",
    "DYLD_",
    "GIT_",
    "PYTHON",
    "BASH_FUNC_",
    "npm_config_",
    "NPM_CONFIG_",
    "PIP_",
    "CARGO_",
    "TF_CLI_",
    "GEM_",
    "BUNDLE_",
)


def checked_variable(name: str) -> None:
    """Raises `Unanalysable` for a variable that changes what is executed."""
    if name in EXECUTION_VARIABLES or name.startswith(_EXECUTION_PREFIXES):
        raise Unanalysable(f"{name} changes what is executed")


def _rest(call: Invocation, spec: Options) -> tuple[Word, ...]:
    return call.parse(spec).operands


@command("nohup", "setsid")
def detached(call: Invocation) -> Effects:
    """Runs a command that means to outlive its caller."""
    words = _rest(call, Options("cfw", permute=False, long=("ctty", "fork", "wait")))
    yield effect("process.leave_running", words[0].pattern if words else "*")
    yield run(words)


_WRAPPERS = {
    "nice": Options("", "n", ("adjustment=",), permute=False),
    "ionice": Options("t", "cn", ("class=", "classdata=", "ignore"), permute=False),
    "stdbuf": Options("", "ioe", ("input=", "output=", "error="), permute=False),
    "time": Options("pv", "", ("portability", "verbose"), permute=False),
    "command": Options("pvV", permute=False),
    "builtin": Options(permute=False),
    "exec": Options("cl", "a", permute=False),
    "unbuffer": Options("p", permute=False),
    "caffeinate": Options("dimsu", "t", permute=False),
    "setarch": Options("R", "", permute=False),
    "linux64": Options(permute=False),
    "fakeroot": Options(permute=False),
    "dbus-run-session": Options(permute=False),
    "proxychains": Options("q", "f", permute=False),
}


@command(*_WRAPPERS)
def wrapper(call: Invocation) -> Effects:
    """Runs a command under other conditions."""
    parsed = call.parse(_WRAPPERS[call.program])
    if call.program == "command" and parsed.has("v", "V"):
        return
    if parsed.operands:
        yield run(parsed.operands)


@command("timeout", "chrt", "taskset", "flock")
def limited(call: Invocation) -> Effects:
    """Runs a command after one operand of its own."""
    specs = {
        "timeout": Options("vfp", "ks", ("preserve-status", "foreground", "kill-after=", "signal=", "verbose"), permute=False),
        "chrt": Options("abfiormRpv", "TPD", permute=False),
        "taskset": Options("acp", permute=False),
        "flock": Options("sxneu", "wEc", ("shared", "exclusive", "nonblock", "nb", "timeout=", "command=", "verbose"), permute=False),
    }  # fmt: skip
    parsed = call.parse(specs[call.program])
    if call.program == "flock" and parsed.operands:
        yield from _lock(call, parsed.operands[0])
        for text in parsed.values("c", "command"):
            yield script(text.text)
        if parsed.has("c", "command"):
            return
        if len(parsed.operands) > 2 and parsed.operands[1].text in ("-c", "--command"):
            yield script(parsed.operands[2].text)
            return
    if call.program in ("chrt", "taskset") and parsed.has("p"):
        raise Unanalysable(f"{call.program} changes a running process")
    if len(parsed.operands) > 1:
        yield run(parsed.operands[1:])


def _lock(call: Invocation, file: Word) -> Effects:
    if not file.text.isdigit():
        yield effect("file.create", call.path(file), certain=False)


@command("env")
def env(call: Invocation) -> Effects:
    """Runs a command with other variables; prints them without one."""
    spec = Options(
        "i0v", "uCSP", ("ignore-environment", "unset=", "null", "chdir=", "split-string=", "debug"), permute=False
    )
    parsed = call.parse(spec)
    words = list(parsed.operands)
    for text in parsed.values("S", "split-string"):
        words = [*(Word(part) for part in _split(text)), *words]
    if parsed.has("P"):
        raise Unanalysable("env -P says where programs are found")
    while words and (words[0].text == "-" or re.match(r"\w+=", words[0].text)):
        checked_variable(words.pop(0).text.partition("=")[0])
    directory = parsed.values("C", "chdir")
    if words:
        yield run(words, cwd=call.path(directory[-1]) if directory else None)


def _split(word: Word) -> list[str]:
    if word.globbed or any(char in word.text for char in "\\$#"):
        raise Unanalysable("what env -S splits is not known")
    try:
        return shlex.split(word.text)
    except ValueError as error:
        raise Unanalysable(f"env -S cannot split its text: {error}") from None


_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "rbash", "fish")


@command(*_SHELLS)
def shell(call: Invocation) -> Effects:
    """Runs a script given as a word or on standard input. A script in a file is not analysed."""
    words = [word.text for word in call.words]
    if words in (["--version"], ["--help"], ["-c"]):
        return
    long = ("norc", "noprofile", "login", "posix", "restricted", "verbose")
    parsed = call.parse(Options("abceilmnprstuvxBCEHPT", "oO", long, permute=False))
    if call.program not in ("sh", "bash", "dash", "ash", "rbash"):
        raise Unanalysable(f"{call.program} reads its scripts in its own way")
    if parsed.has("i"):
        raise Unanalysable("an interactive shell reads start-up files and then anything")
    if parsed.has("c"):
        if not parsed.operands or parsed.operands[0].globbed:
            raise Unanalysable("the script of -c is not known")
        yield script(_with_arguments(parsed.operands))
        if not _uses_arguments(parsed.operands):
            # Quotes were lost on the way, as in `xargs bash -c`: what was meant counts, too.
            yield script(" ".join(word.text for word in parsed.operands))
    elif parsed.operands and parsed.has("n") and not parsed.has("s") and not parsed.operands[0].text.startswith("+"):
        # Read for its syntax and not run; a word like `+n` would take that back.
        yield read(call.path(parsed.operands[0]))
    elif parsed.operands and not parsed.has("s"):
        yield from _script_file(call, parsed.operands[0])
    elif call.stdin is not None and not call.stdin_unknown:
        yield script(call.stdin)
    else:
        raise Unanalysable("the script comes from standard input and is not known")


def _uses_arguments(operands: tuple[Word, ...]) -> bool:
    return len(operands) == 1 or bool(re.search(r"\$\{?[@*0-9]", operands[0].text))


def _with_arguments(operands: tuple[Word, ...]) -> str:
    """The script of `-c` under the arguments that follow it: `$0`, `$1` …."""
    text, arguments = operands[0].text, operands[1:]
    if not arguments:
        return text
    if any(word.globbed for word in arguments) or re.search(r"\$(\{?[0#!]|\{[!#])", text):
        raise Unanalysable("the arguments of the script of -c are not known")
    return "set -- " + " ".join(shlex.quote(word.text) for word in arguments[1:]) + "\n" + text


def _script_file(call: Invocation, file: Word) -> Effects:
    if file.text in ("/dev/stdin", "-", "/proc/self/fd/0") and call.stdin is not None and not call.stdin_unknown:
        yield script(call.stdin)
        return
    yield read(call.path(file))
    raise Unanalysable(f"the script {file.text} is not analysed")


_HARMLESS = frozenset(
    [
        *(
            "echo",
            "printf",
            "basename",
            "dirname",
            "cat",
            "tac",
            "grep",
            "egrep",
            "fgrep",
            "wc",
            "head",
            "tail",
            "ls",
            "stat",
            "cut",
            "nl",
            "od",
        ),
        *("md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum", "b2sum", "b3sum", "cksum", "sum"),
        *("du", "test", "[", "realpath", "readlink", "cmp", "comm", "rev", "fold", "strings", "hexdump", "jq", "zcat"),
        *("true", "false", "sleep", "seq", "expr"),
    ]
)
"""What may be given any words, options too: it only looks at them."""
_PRINTS = ("echo", "printf", "basename", "dirname", "true", "false", "sleep", "seq", "expr")


@command("xargs")
def xargs(call: Invocation) -> Effects:
    """Runs a command with words from standard input, which may be any words."""
    long = ("null", "no-run-if-empty", "max-args=", "max-procs=", "delimiter=", "replace?", "verbose", "arg-file=", "exit",
            "max-lines?", "max-chars=", "interactive", "eof?", "show-limits", "process-slot-var=")  # fmt: skip
    attached = [word for word in call.words if re.match(r"-[ile].", word.text)]
    words = Invocation(
        argv=(call.argv[0], *(Word(word.text[:2]) if word in attached else word for word in call.words)),
        cwd=call.cwd,
        stdin=call.stdin,
    )
    parsed = words.parse(Options("0rtpxoile", "adEILnPsJR", long, permute=False))
    inner = parsed.operands or (Word("echo"),)
    is_known = call.stdin is not None and not call.stdin_unknown and not parsed.has("a", "arg-file", "J", "R")
    if is_known and not (
        parsed.has("d", "delimiter", "0", "null") or any(char in (call.stdin or "") for char in "'\"\\")
    ):
        yield from _for_each(
            call,
            inner,
            _placeholder(
                parsed.values("I"), parsed.values("replace"), attached, replaces=parsed.has("I", "i", "replace")
            ),
        )
        return
    if inner[0].text in _HARMLESS:
        # Beneath the directory as far as anyone foresees; a host shows no secret that nobody named.
        yield run(
            inner if inner[0].text in _PRINTS else (*inner, Word(call.path(".").rstrip("/") + "/**", globbed=True))
        )
        return
    raise Unanalysable(f"which words xargs passes on to `{inner[0].text}` is not known")


def _placeholder(given: list[Word], replaced: list[Word], attached: list[Word], *, replaces: bool) -> str:
    if not replaces:
        return ""
    for word in attached:
        if word.text.startswith("-i"):
            return word.text[2:]
    return next((word.text for word in [*given, *replaced] if word.text), "{}")


def _for_each(call: Invocation, words: tuple[Word, ...], placeholder: str) -> Effects:
    """The runs that known input leads to: with all its words, or one for each line."""
    text = call.stdin or ""
    if not placeholder:
        yield run((*words, *(Word(word) for word in text.split())))
        return
    if not any(placeholder in word.text for word in words):
        raise Unanalysable(f"xargs is to replace `{placeholder}`, which stands nowhere")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 64:
        raise Unanalysable("xargs runs it too often to follow")
    for line in lines:
        yield run([Word(word.text.replace(placeholder, line), word.globbed) for word in words])


@command("parallel")
def parallel(call: Invocation) -> Effects:
    """Runs a command line in a shell for each argument; without one, each argument is a command line."""
    words = list(call.words)
    while words and words[0].text.startswith("-"):
        option = words.pop(0).text
        if option in ("-j", "-P", "--jobs", "-n", "-N", "--delay", "--timeout", "--retries") and words:
            words.pop(0)
        elif not re.fullmatch(
            r"-j\d*|-P\d*|-k|--keep-order|--bar|--eta|--progress|--no-notice|--will-cite|-q|-0|-v|-t|--line-buffer|--lb|-u|--ungroup",
            option,
        ):
            raise Unanalysable(f"parallel {option} is not known")
    texts = [word.text for word in words]
    if any(word.globbed for word in words):
        raise Unanalysable("which words parallel passes on is not known")
    if ":::" in texts:
        at = texts.index(":::")
        line, arguments = texts[:at], texts[at + 1 :]
        if any(re.fullmatch(r":{3,4}\+?", text) for text in arguments):
            raise Unanalysable("parallel combines several lists")
    elif any(re.fullmatch(r":{3,4}\+?", text) for text in texts):
        raise Unanalysable("parallel reads its arguments from files")
    elif call.stdin is not None and not call.stdin_unknown:
        line, arguments = texts, [text for text in call.stdin.splitlines() if text]
    elif texts and texts[0] in _HARMLESS and all(re.fullmatch(r"[\w./=:,%+{}-]+", text) for text in texts):
        # Each argument comes quoted, so that it is a word of what only looks, whatever it holds.
        inner = [Word(text) for text in texts if text != "{}"]
        beneath = Word(call.path(".").rstrip("/") + "/**", globbed=True)
        yield run(inner if texts[0] in _PRINTS else [*inner, beneath])
        return
    else:
        raise Unanalysable("which arguments parallel reads is not known")
    if len(arguments) > 64 or re.search(r"\{[^}]", " ".join(line)):
        raise Unanalysable("parallel builds more than can be followed")
    for argument in arguments:
        yield script(_parallel_line(line, argument))


def _parallel_line(line: list[str], argument: str) -> str:
    """The words are joined and read again by a shell; the argument is quoted into them."""
    if not line:
        return argument
    text, quoted = " ".join(line), shlex.quote(argument)
    return text.replace("{}", quoted) if "{}" in text else f"{text} {quoted}"


@command("sudo", "doas", "pkexec", "run0", "gosu")
def privilege(call: Invocation) -> Effects:
    """Runs a command with another user's rights, which no private copy holds back."""
    long = ("non-interactive", "preserve-env?", "user=", "group=", "set-home", "shell", "login", "edit", "list", "validate",
            "reset-timestamp", "remove-timestamp", "background", "chdir=", "stdin", "prompt=", "host=", "version", "help")  # fmt: skip
    parsed = call.parse(Options("nEHSkbielvVKPA", "ugUpCDhrtTR", long, permute=False))
    words = list(parsed.operands)
    if call.program == "gosu" and words:
        words.pop(0)
    if not words and not parsed.has("s", "i", "e", "l", "v", "k", "K", "shell", "login", "edit", "validate"):
        return
    who = (parsed.values("u", "user") or [Word("root")])[-1]
    yield external(f"privilege/{who.pattern}")
    while words and re.match(r"\w+=", words[0].text):
        checked_variable(words.pop(0).text.partition("=")[0])
    directory = parsed.values("D", "chdir") if call.program == "sudo" else []
    if parsed.has("s", "i", "e", "shell", "login", "edit"):
        raise Unanalysable(f"{call.program} opens a shell or an editor")
    if words:
        yield run(words, cwd=call.path(directory[-1]) if directory else None)


@command("su", "runuser", "chroot", "unshare", "nsenter", "machinectl", "systemd-run", "systemd-nspawn", "newgrp", "sg")
def elsewhere(call: Invocation) -> Effects:
    """Runs a command as somebody or somewhere else."""
    yield external(f"privilege/{call.program}")
    raise Unanalysable(f"{call.program} changes who or where a command is")


@command("watch")
def watch(call: Invocation) -> Effects:
    """Runs a command line again and again."""
    long = ("beep", "color", "no-color", "differences?", "errexit", "chgexit", "equexit=", "interval=", "precise", "no-rerun", "no-title", "exec", "no-wrap")  # fmt: skip
    parsed = call.parse(Options("bcCegprtwxd", "nq", long, permute=False))
    if not parsed.operands:
        return
    if parsed.has("x", "exec"):
        yield run(parsed.operands)
    elif any(word.globbed for word in parsed.operands):
        raise Unanalysable("what watch runs is not known")
    else:
        yield script(" ".join(word.text for word in parsed.operands))


@command("script", "expect", "screen", "tmux", "dtach", "at", "batch", "entr", "inotifywait", "incron", "socat")
def sessions(call: Invocation) -> Effects:
    """Runs commands in sessions of their own, later, or when something happens."""
    if call.program == "tmux" and call.words[:1] and call.words[0].text in ("ls", "list-sessions", "list-windows"):
        return
    if call.program == "screen" and [word.text for word in call.words] in (["-ls"], ["-list"], ["--version"], ["-v"]):
        return
    yield effect("process.leave_running", "*", certain=False)
    raise Unanalysable(f"what {call.program} runs is not followed")


@command("busybox", "toybox")
def multicall(call: Invocation) -> Effects:
    """Runs an applet, which is a program of that name with fewer options."""
    if not call.words or call.words[0].text.startswith("-"):
        return
    yield run(call.words)


@command("trap", "alias", "hash", "enable", "bind", "complete", "history", "fc")
def shell_state(call: Invocation) -> Effects:
    """Changes the shell that runs it."""
    raise Unanalysable(f"`{call.program}` changes the shell")
    yield
