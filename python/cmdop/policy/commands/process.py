"""Processes, and programs that run other programs."""

from __future__ import annotations

from cmdop.policy.effects import Effects, effect, look, read, run, script, signal
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command


@command("ps", "pgrep", "pidof", "pstree", "top", "htop", "lsof", "w", "who", "last", "jobs")
def inspect(call: Invocation) -> Effects:
    """Looks at processes and users."""
    yield look()


@command("kill")
def kill(call: Invocation) -> Effects:
    """Signals processes by number; a negative one is a group, -1 everything."""
    words = [word.text for word in call.words]
    if words and words[0] in ("-l", "-L", "--list", "--table"):
        return
    if words and words[0] in ("-s", "--signal", "-n"):
        words = words[2:]
    elif words and words[0].startswith("-"):
        words = words[1:]
    for word in words:
        if word == "--":
            continue
        if not word.isdigit():
            yield signal("*")
        else:
            yield signal(f"pid:{word}")


@command("pkill", "killall")
def kill_by_name(call: Invocation) -> Effects:
    """Signals every process that matches."""
    operands = [word for word in call.words if not word.text.startswith("-")]
    if call.program == "killall" and len(operands) == len(call.words):
        for word in operands:
            yield signal(word.pattern)
    else:
        yield signal("*")


@command("systemctl", "service")
def services(call: Invocation) -> Effects:
    """Asks for, or changes, the state of services."""
    words = [word for word in call.words if not word.text.startswith("-")]
    if call.program == "service":
        words = words[1::-1] + words[2:]
    if not words:
        return
    verb, units = words[0].text, words[1:]
    if verb in (
        "status",
        "show",
        "cat",
        "is-active",
        "is-enabled",
        "is-failed",
        "list-units",
        "list-unit-files",
        "list-timers",
        "list-dependencies",
    ):
        yield look()
    elif verb in ("start", "stop", "restart", "reload"):
        for unit in units:
            yield effect(f"service.{verb}", unit.pattern)
    else:
        raise Unanalysable(f"what `{call.program} {verb}` changes is not known")


@command("journalctl", "dmesg")
def logs(call: Invocation) -> Effects:
    """Reads the journal."""
    if any(
        word.text.startswith(
            (
                "--vacuum",
                "--rotate",
                "--flush",
                "--sync",
                "-C",
                "-c",
                "--clear",
                "--read-clear",
                "-D",
                "-E",
                "--update-catalog",
                "--setup-keys",
            )
        )
        for word in call.words
    ):
        raise Unanalysable("it changes the journal")
    yield read("/var/log/**", certain=False)


# --- programs that run other programs ---------------------------------------------------------


def _after(call: Invocation, spec: Options) -> tuple[Word, ...]:
    return call.parse(spec).operands


@command("nohup", "setsid")
def detached(call: Invocation) -> Effects:
    """Runs a command that means to outlive its caller."""
    words = _after(call, Options("cfw", permute=False, long=("ctty", "fork", "wait")))
    yield effect("process.leave_running", words[0].pattern if words else "*")
    yield run(words)


@command("nice", "ionice", "chrt", "stdbuf", "time", "command", "exec", "builtin")
def wrapper(call: Invocation) -> Effects:
    """Runs a command under other conditions."""
    specs = {
        "nice": Options("", "n", ("adjustment=",), permute=False),
        "ionice": Options("t", "cn", ("class=", "classdata="), permute=False),
        "stdbuf": Options("", "ioe", ("input=", "output=", "error="), permute=False),
        "time": Options("pv", "", permute=False),
        "command": Options("pvV", permute=False),
    }
    parsed = call.parse(specs.get(call.program, Options(permute=False)))
    if call.program == "command" and parsed.has("v", "V"):
        return
    yield run(parsed.operands)


@command("timeout")
def timeout(call: Invocation) -> Effects:
    """Runs a command with a time limit."""
    words = _after(
        call, Options("v", "ks", ("preserve-status", "foreground", "kill-after=", "signal=", "verbose"), permute=False)
    )
    yield run(words[1:])


@command("env")
def env(call: Invocation) -> Effects:
    """Runs a command with other variables; prints them without one."""
    words = list(_after(call, Options("i0v", "u", ("ignore-environment", "unset=", "null"), permute=False)))
    while words and "=" in words[0].text:
        name = words.pop(0).text.partition("=")[0]
        if name in _EXECUTION_VARIABLES or name.startswith(("LD_", "GIT_", "PYTHON")):
            raise Unanalysable(f"{name} changes what is executed")
    if words:
        yield run(words)


_EXECUTION_VARIABLES = frozenset(
    [
        "PATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "SHELL",
        "PERL5OPT",
        "PERL5LIB",
        "RUBYOPT",
        "RUBYLIB",
        "NODE_OPTIONS",
        "PAGER",
        "EDITOR",
        "VISUAL",
        "MANPAGER",
        "LESSOPEN",
        "PROMPT_COMMAND",
        "SHELLOPTS",
        "BASHOPTS",
    ]
)


@command("printenv")
def printenv(call: Invocation) -> Effects:
    """Prints variables."""
    yield from ()


@command("sh", "bash", "dash")
def shell(call: Invocation) -> Effects:
    """Runs a script given as a word or on standard input. A script in a file is not analysed."""
    parsed = call.parse(Options("ceulxv", "o", ("norc", "noprofile", "login"), permute=False))
    if parsed.has("c"):
        if len(parsed.operands) != 1 or parsed.operands[0].globbed:
            raise Unanalysable("the script of -c takes arguments or cannot be known")
        yield script(parsed.operands[0].text)
    elif parsed.operands:
        raise Unanalysable(f"the script {parsed.operands[0].text} is not analysed")
    elif call.stdin is not None and not call.stdin_unknown:
        yield script(call.stdin)
    else:
        raise Unanalysable("the script comes from standard input and is not known")


@command("xargs")
def xargs(call: Invocation) -> Effects:
    """Runs a command with words from standard input, which may be any words."""
    parsed = call.parse(
        Options(
            "0rtpxo",
            "adEeIiLlnPs",
            ("null", "no-run-if-empty", "max-args=", "max-procs=", "delimiter=", "replace?", "verbose"),
            permute=False,
        )
    )
    words = parsed.operands or (Word("echo"),)
    if call.stdin is None or call.stdin_unknown or parsed.has("a", "I", "i", "0", "d", "replace", "null", "delimiter"):
        if words[0].text in ("echo", "cat", "grep", "wc", "head", "tail", "ls", "file", "stat", "basename", "dirname"):
            yield run(
                (*words, Word("/**", globbed=True)) if words[0].text not in ("echo", "basename", "dirname") else words
            )
            return
        raise Unanalysable("which words xargs passes on is not known")
    if any(char in call.stdin for char in "'\"\\"):
        raise Unanalysable("xargs would unquote its input")
    yield run((*words, *(Word(text) for text in call.stdin.split())))


@command("sudo", "doas", "su", "runuser", "chroot", "unshare", "nsenter")
def privilege(call: Invocation) -> Effects:
    """Runs a command as somebody or somewhere else."""
    if call.program not in ("sudo", "doas"):
        raise Unanalysable(f"{call.program} changes who or where the command is")
    words = _after(
        call, Options("nEHSk", "ug", ("non-interactive", "preserve-env?", "user=", "group=", "set-home"), permute=False)
    )
    if words and "=" in words[0].text:
        raise Unanalysable("sudo sets variables")
    yield run(words)


@command("python", "python3", "perl", "ruby", "node", "php")
def interpreter(call: Invocation) -> Effects:
    """Runs a program in another language, unless it only says its version."""
    if [word.text for word in call.words] in (["--version"], ["-V"], ["-v"]):
        return
    raise Unanalysable(f"a {call.program} program may do anything")
