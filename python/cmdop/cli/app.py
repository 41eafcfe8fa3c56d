"""The commands, each loaded when it is used."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from cmdop import __version__
from cmdop.cli.exit import EXIT_CODES, ExitCode

app: Final = App(
    name="cmdop",
    help="Makes an AI agent's actions on live infrastructure trustworthy.",
    help_epilogue=EXIT_CODES,
    version=__version__,
    help_format="plaintext",
)

app.command("cmdop.cli.serve:up", name="up", help="Start a server and a host on this machine.")
app.command("cmdop.cli.serve:server", name="server", help="Start a server.")
app.command("cmdop.cli.call:call", name="call", help="Send one guarded call.")
app.command("cmdop.cli.call:undo", name="undo", help="Take back what a call changed.")
app.command("cmdop.cli.run:run", name="run", help="Let an agent do a task.")
app.command("cmdop.cli.inspect:hosts", name="hosts", help="List the hosts.")
app.command("cmdop.cli.inspect:tools", name="tools", help="List the tools, or show one.")
app.command("cmdop.cli.errors:errors", name="errors", help="List the reasons of errors, or show one.")
app.command("cmdop.cli.inspect:doctor", name="doctor", help="Tell what this machine can confine and observe.")

host: Final = App(name="host", help="Hosts.")
host.command("cmdop.cli.serve:host_join", name="join", help="Run a host on this machine and attach it to a server.")
app.command(host)

calls: Final = App(name="calls", help="Calls.")
calls.command("cmdop.cli.calls:list_calls", name="list", help="List calls, newest first.")
calls.command("cmdop.cli.calls:show_call", name="show", help="Show a call.")
calls.command("cmdop.cli.calls:cancel_call", name="cancel", help="Stop a call.")
calls.command("cmdop.cli.calls:reconcile_call", name="reconcile", help="Say what became of an unknown call.")
app.command(calls)

approvals: Final = App(name="approvals", help="What waits for a person.")
approvals.command("cmdop.cli.approvals:list_approvals", name="list", help="List approvals, pending ones by default.")
approvals.command("cmdop.cli.approvals:show_approval", name="show", help="Show an approval and its exact diff.")
approvals.command("cmdop.cli.approvals:approve", name="approve", help="Approve, and show what became of the call.")
approvals.command("cmdop.cli.approvals:reject", name="reject", help="Reject: nothing of the call happens.")
approvals.command("cmdop.cli.approvals:modify", name="modify", help="Have another action done instead.")
approvals.command("cmdop.cli.approvals:escalate", name="escalate", help="Pass the question on to the next group.")
approvals.command("cmdop.cli.approvals:terminate", name="terminate", help="Reject, and end the run that asked.")
app.command(approvals)

policy: Final = App(name="policy", help="What calls are decided by.")
policy.command("cmdop.cli.policy:show_policy", name="show", help="Show the policy of a server.")
policy.command("cmdop.cli.policy:reload_policy", name="reload", help="Have a server read its policy files anew.")
policy.command("cmdop.cli.policy:check_policy", name="check", help="Check policies as a server loads them.")
policy.command("cmdop.cli.policy:explain", name="explain", help="Say what policy says about a call, and who decided.")
policy.command("cmdop.cli.decide:decide", name="decide", help="Decide about a file of commands. Runs nothing.")
policy.command("cmdop.cli.policy:try_policy", name="test", help="Try cases beside policies.")
policy.command(
    "cmdop.cli.policy:diff_policy", name="diff", help="Say which recorded calls another policy decides otherwise."
)
app.command(policy)

app.command("cmdop.cli.freeze:app", name="freeze", help="Stop every change on some hosts until a person lifts it.")

app.command("cmdop.cli.grants:app", name="grants", help="Agree beforehand to a few uses of a narrow effect.")

app.command("cmdop.cli.approvers:app", name="approvers", help="Say who answers approvals.")

preview: Final = App(name="preview", help="What a held call would change, before anything changes.")
preview.command("cmdop.cli.preview:show_preview", name="show", help="Show the exact diff that a call is held for.")
preview.command("cmdop.cli.preview:commit_preview", name="commit", help="Approve exactly that diff, and apply it.")
preview.command("cmdop.cli.preview:discard_preview", name="discard", help="Reject it: nothing changes.")
app.command(preview)


trace: Final = App(name="trace", help="What happened, and why.")
trace.command("cmdop.cli.trace:show_trace", name="show", help="Show everything recorded about a call or a run.")
trace.command("cmdop.cli.trace:export_trace", name="export", help="Send a trace to an OpenTelemetry collector.")
app.command(trace)


LOOKS: Final = frozenset(
    {
        *("hosts", "tools", "errors", "doctor", "calls list", "calls show", "approvals list", "approvals show"),
        *("policy show", "policy check", "policy explain", "policy decide", "policy test", "policy diff"),
        *("freeze list", "grants list", "grants show", "approvers list", "preview show", "trace show"),
    }
)
"""Commands that change nothing, here or elsewhere."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code, one of `ExitCode`."""
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in tokens
    _open_what_is_closed()
    _take_every_character()
    for token in tokens:
        if not _is_text(token):
            return _usage_error(f"the argument {token!a} is not UTF-8 text", as_json=as_json)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        # Else what is still in its buffer would fail at the exit, with a code of Python's own.
        sys.stdout.flush()
    except CycloptsError as error:
        # Shown by us, because it quotes what was typed or pasted.
        return _usage_error(str(error), as_json=as_json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone. Python must not complain about that at its exit, too.
        sys.stderr.close()
        return 141
    except OSError as error:
        # Everything else that fails is an error of its own: this is a disk or device that takes no output.
        return _unwritten(error, tokens)
    return code if isinstance(code, int) else ExitCode.DONE


def _open_what_is_closed() -> None:
    """Python has None for a standard stream that the caller closed, which nothing can read or write."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it lives as long as the process


def _take_every_character() -> None:
    """Output never fails for its characters: what the encoding has not stands there by its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _unwritten(error: OSError, tokens: list[str]) -> int:
    """The exit code where output could not be written; what a command did stays done."""
    only_looks = _only_looks(tokens)
    hint = "" if only_looks else "; see `cmdop calls list` for what was done"
    try:
        print(f"the output could not be written: {error}{hint}", file=sys.stderr, flush=True)
    except OSError:
        # Errors are written to the same disk. Only the exit code can still say it.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    return ExitCode.FAILED if only_looks else ExitCode.UNKNOWN


def _only_looks(tokens: list[str]) -> bool:
    """Does the command line ask for nothing but what there is?"""
    chain, _, _ = app.parse_commands(tokens)
    return not chain or chain[-1].startswith("-") or " ".join(chain) in LOOKS


def _is_text(token: str) -> bool:
    """What the system hands over in another encoding holds half surrogate pairs, and no message takes it."""
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return True


def _usage_error(message: str, *, as_json: bool) -> int:
    from cmdop.cli.session import usage_error

    return usage_error(message, as_json=as_json)
