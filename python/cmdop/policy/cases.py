"""Cases beside policies: what a policy must say about effects and commands, in a TOML file.

::

    policy = ["workspace", "site.cedar"]   # packs, and files beside this one; default: *.cedar beside this one
    entities = "entities.toml"             # groups and labels; default: none

    [where]                                # of every case, unless it says otherwise
    agent = "janitor"                      # "" is a person
    level = "ask"
    user = "ada"
    host = "web-1"
    workspaces = ["/srv/app"]
    labels = { env = "production" }
    home = "/root"
    session = { denials = 2 }              # what the run did before; a case adds to it

    [[case]]
    name = "nobody deletes the database"
    effect = "file.delete:/srv/db"         # allow, depends, ask or deny
    expect = "deny"
    by = "site.database"                   # optional: a policy that must be among those that decided

    [[case]]
    command = "rm -rf build"               # allow, preview, ask or deny
    cwd = "/srv/app"
    agent = ""
    expect = "preview"

    [[case]]
    effect = "file.delete:/srv/app/scratch"
    session.made = ["/srv/app/scratch/"]   # `made`, `moved` = {TO = FROM}, `failed`, `denials`, `denied`
    expect = "depends"                     # on what else lies in it
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmdop import v1
from cmdop._bridge import PolicyReview
from cmdop.errors import CmdopError, InvalidConfigurationError
from cmdop.policy.entities import load_entities
from cmdop.policy.levels import Level
from cmdop.policy.review import Situation, review_command, review_effect
from cmdop.policy.session import Session
from cmdop.policy.sources import is_pack, read_sources


class _Where(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: str | None = None
    agent: str | None = None
    level: Level | None = None
    host: str | None = None
    workspaces: list[str] | None = None
    labels: dict[str, str] | None = None
    home: str | None = None
    session: Session | None = None

    def given(self) -> dict[str, Any]:
        """What is said here, by its name in a situation."""
        names = ("user", "agent", "level", "host", "workspaces", "labels", "home", "session")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Case(_Where):
    """One thing that must hold."""

    name: str = ""
    effect: str | None = None
    command: str | None = None
    tool: str = "terminal.exec"
    cwd: str | None = None
    expect: Literal["allow", "depends", "preview", "ask", "deny"]
    by: str | None = None

    @model_validator(mode="after")
    def _is_of_one_thing(self) -> Self:
        if (self.effect is None) == (self.command is None):
            raise ValueError("a case has either an `effect` or a `command`")
        other = "preview" if self.effect is not None else "depends"
        if self.expect == other:
            raise ValueError(f"`{other}` is not said about {'an effect' if self.effect else 'a command'}")
        return self


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid")

    policy: list[str] = Field(default_factory=list[str])
    entities: str | None = None
    where: _Where = Field(default_factory=_Where)
    case: list[Case] = Field(min_length=1)


@dataclass(frozen=True)
class CaseFile:
    """A file of cases, and the policy that they are about."""

    path: Path
    policy: PolicyReview
    where: dict[str, Any]
    cases: list[tuple[int, Case]]
    """With the line at which each begins."""


@dataclass(frozen=True)
class Tried:
    """What came of a case."""

    line: int
    case: Case
    word: str
    policies: list[str]
    """Ids of those that decided."""
    holds: bool


def load_cases(path: Path) -> CaseFile:
    """Reads a file of cases and loads the policy that it names.

    Raises:
        InvalidConfigurationError: The file, or a policy that it names, is wrong; the message says where.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from None
    try:
        read = _Cases.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigurationError(f"{path}: {error}; mend the TOML") from error
    except ValidationError as error:
        raise _wrong(path, text, error) from error
    beside = path.parent
    names = [name if is_pack(name) else str(beside / name) for name in read.policy]
    files = read_sources(names) if names else read_sources([str(beside)])
    entities = v1.PolicyEntities() if read.entities is None else load_entities(beside / read.entities)
    policy = PolicyReview(v1.PolicySet(files=files, entities=entities))
    return CaseFile(path, policy, read.where.given(), list(zip(_lines(text), read.case, strict=False)))


def try_cases(file: CaseFile) -> Iterator[Tried]:
    """Tries each case of a file."""
    for line, case in file.cases:
        said = file.where | case.given()
        if case.session is not None and isinstance(earlier := file.where.get("session"), Session):
            said["session"] = earlier.joined(case.session)
        situation = Situation(**said)
        word, policies = _said(file.policy, case, situation)
        holds = word == case.expect and (case.by is None or case.by in policies)
        yield Tried(line, case, word, policies, holds)


def _said(policy: PolicyReview, case: Case, situation: Situation) -> tuple[str, list[str]]:
    if case.effect is not None:
        try:
            ruling = review_effect(policy, case.effect, case.tool, situation).ruling
        except ValueError as error:
            return f"error: {error}", []
        return ruling.word, [policy.id for policy in ruling.policies]
    cwd = case.cwd or (situation.workspaces[0] if situation.workspaces else situation.home)
    try:
        _, review = review_command(policy, case.command or "", cwd, situation)
    except CmdopError as error:
        return ("deny" if error.reason == "MALFORMED_COMMAND" else f"error: {error.message}"), []
    by = {policy.id: None for effect in review.effects for policy in effect.ruling.policies}
    return review.word, [*by]


def _lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*case\s*\]\]", line)]


def _wrong(path: Path, text: str, error: ValidationError) -> InvalidConfigurationError:
    first = error.errors()[0]
    place = first["loc"]
    lines = _lines(text)
    where = str(path)
    match place:
        case ("case", int(index), *_) if index < len(lines):
            where = f"{path}:{lines[index]}"
        case _:
            pass
    return InvalidConfigurationError.fix(
        f"{where}: {'.'.join(str(part) for part in place)}: {first['msg']}", "a file of cases as docs/policy shows it"
    )
