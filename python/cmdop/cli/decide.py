"""`cmdop policy decide`: what policy says about many commands. Static: nothing is run, no server is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final, TypeAlias, cast

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cmdop import v1
from cmdop._bridge import CoreDecider, Foreseen
from cmdop.cli.exit import ExitCode
from cmdop.cli.session import reported
from cmdop.document.words import kind_name
from cmdop.errors import InvalidConfigurationError
from cmdop.policy import judge, vocabulary
from cmdop.policy.session import Session

WORKSPACE: Final = "/workspace"
"""Where a command starts that does not say it, and the one workspace of the assumed host."""

Commands: TypeAlias = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True, help="JSON Lines: {id, command, cwd?, env?, context?}. `-` is standard input."
    ),
]
Profile: TypeAlias = Annotated[
    str, Parameter(help="A shipped pack by name, a .cedar file, or a directory of them, used instead of the pack.")
]
HostFacts: TypeAlias = Annotated[
    Path | None,
    Parameter(help="JSON of the host they are about: name, home, workspaces, labels, capabilities; and a `session`."),
]


class Host(BaseModel):
    """The host that decisions are about, as `--host-facts` says it."""

    model_config = ConfigDict(extra="forbid")

    name: str = "local"
    home: str = "/home/agent"
    workspaces: list[str] = Field(default_factory=lambda: [WORKSPACE])
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    capabilities: list[str] = Field(default_factory=lambda: ["direct.landlock"])
    """What it can confine. Without `direct.landlock` nothing runs but on a copy, so that nothing is `allow`."""
    session: Session = Field(default_factory=Session)
    """What the run did before each of the commands. A line's own `context.session` adds to it."""

    @field_validator("home", "workspaces")
    @classmethod
    def _absolute(cls, value: str | list[str]) -> str | list[str]:
        for path in [value] if isinstance(value, str) else value:
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is not absolute")
        return value

    def to_proto(self) -> v1.Host:
        """The host as the core takes it."""
        capabilities = [v1.Capability(name=name, available=True) for name in self.capabilities]
        return v1.Host(
            name=self.name,
            home=self.home,
            workspaces=self.workspaces,
            labels=self.labels,
            capabilities=capabilities,
            attached=True,
        )


class _Context(BaseModel):
    """What a corpus notes beside a command. It changes no verdict, but for what the run did before."""

    model_config = ConfigDict(extra="ignore", strict=True)

    session: Session | None = None


class _Line(BaseModel):
    """One command to decide about."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | int
    command: str
    cwd: str = ""
    env: dict[str, str] = Field(default_factory=dict[str, str])
    context: _Context = Field(default_factory=lambda: _Context())

    @field_validator("cwd")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("must be an absolute path")
        return value


def decide(*, commands: Commands, profile: Profile = "workspace", host_facts: HostFacts = None) -> int:
    """Decide about each command of a file, in its order, one JSON object a line. Runs nothing, needs no server.

    A command is decided about as if an agent at level `auto` had declared what it is foreseen to do, on a host
    that confines: `allow` runs unasked, `preview` runs on a private copy first and commits what proves to be
    permitted, `ask` waits for a person, `deny` never runs.

    Without a `cwd` a command starts in the first workspace, which is /workspace unless host facts say otherwise.
    What a run did before is said in the host facts for all commands, and in a line's `context` for one, under
    `session`: {made: [PATH], moved: {TO: FROM}, failed: N, denials: N, denied: [KIND:TARGET]}.

    A line that is none gives an object with `error`, and the rest goes on.
    """

    def act() -> int:
        host = host_of(host_facts)
        vocabulary()  # a package whose commands cannot be taught is no fault of any line
        decider = CoreDecider(host.to_proto(), policies_of(profile), judge)
        with _opened(commands) as lines:
            for verdict in verdicts(lines, decider, host):
                sys.stdout.write(json.dumps(verdict) + "\n")
        sys.stdout.flush()
        return ExitCode.DONE

    return reported(act, as_json=False)


def verdicts(lines: Iterable[bytes], decider: CoreDecider, host: Host) -> Iterator[dict[str, Any]]:
    """One object for each line: a verdict, or what is wrong with the line."""
    start = host.workspaces[0] if host.workspaces else "/"
    supposed = host.session.to_core(host.name)
    for number, text in enumerate(lines, 1):
        known: object = None
        try:
            known = cast("object", json.loads(text))
            line = _Line.model_validate(known)
        except ValidationError as error:
            yield _bad(number, known, "; ".join(_told(dict(each)) for each in error.errors()))
        except (ValueError, RecursionError) as error:
            yield _bad(number, None, f"it is no JSON: {error}")
        else:
            said = line.context.session
            session = supposed if said is None else host.session.joined(said).to_core(host.name)
            foreseen = decider.decide(_proposal(line, start, host), v1.AutonomyLevel.AUTONOMY_LEVEL_AUTO, session)
            yield _verdict(line.id, foreseen)


def _proposal(line: _Line, start: str, host: Host) -> v1.Proposal:
    arguments: dict[str, Any] = {"command": line.command or " ", "cwd": line.cwd or start}
    if line.env:
        arguments["env"] = line.env
    action = v1.Action(tool="terminal.exec", host=host.name, intent="decide", arguments_json=json.dumps(arguments))
    return v1.Proposal(
        action=action, actor=v1.Actor(user="decide", agent="decide"), idempotency_key="decide", author_attempt=1
    )


def _verdict(id: str | int, foreseen: Foreseen) -> dict[str, Any]:
    decision, prediction = foreseen.decision, foreseen.prediction
    return {
        "id": id,
        "verdict": _word(decision),
        "effects": [
            {"kind": kind_name(each.kind), "target": each.target, "certain": each.certain}
            for each in prediction.effects
        ],
        "policies": [policy.id for policy in decision.policies],
        "reason": decision.reason,
        "unanalysable": "; ".join(prediction.unanalysable) or None,
    }


def _word(decision: v1.Decision) -> str:
    match decision.effect:
        case v1.PolicyEffect.POLICY_EFFECT_ALLOW if decision.stage == v1.Stage.STAGE_APPLY:
            return "allow"
        case v1.PolicyEffect.POLICY_EFFECT_ALLOW:
            return "preview"
        case v1.PolicyEffect.POLICY_EFFECT_REQUIRE_APPROVAL:
            return "ask"
        case _:
            return "deny"


def _bad(number: int, known: object, why: str) -> dict[str, Any]:
    id = cast("Mapping[str, object]", known).get("id") if isinstance(known, dict) else None
    return {"id": id if isinstance(id, str | int) else None, "error": f"line {number}: {why}"}


def _told(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def host_of(file: Path | None) -> Host:
    """The host that a file of facts describes, or the assumed one."""
    if file is None:
        return Host()
    try:
        return Host.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidConfigurationError.fix(f"{file} cannot be read: {error}", "a JSON file of host facts") from None
    except ValidationError as error:
        told = _told(dict(error.errors()[0]))
        raise InvalidConfigurationError.fix(f"{file}: {told}", "a JSON object of host facts") from None


def policies_of(profile: str) -> list[v1.PolicyFile]:
    """The files of a profile: a pack by its name, a file, or a directory of files."""
    from cmdop.policy.sources import read_sources

    return read_sources([profile])


def _opened(commands: str) -> IO[bytes]:
    if commands == "-":
        return sys.stdin.buffer
    try:
        return Path(commands).open("rb")
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"{commands} cannot be read: {error}", "a file of JSON Lines, or `-`", path="--commands"
        ) from None
