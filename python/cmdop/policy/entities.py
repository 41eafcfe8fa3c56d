"""Whom and what policies may speak about: groups, and labels that the operator gives hosts.

::

    [groups.users]
    operators = ["ada", "bob"]

    [groups.agents]
    fleet = ["janitor"]

    [groups.hosts]
    web = ["web-1", "web-2"]

    [hosts.web-1]
    env = "production"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.policy.levels import line_of

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@+:/-]{0,127}$")]
Groups = dict[Name, list[Name]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GroupTables(_Strict):
    """Members by group."""

    users: Groups = Field(default_factory=dict[Name, list[Name]])
    agents: Groups = Field(default_factory=dict[Name, list[Name]])
    hosts: Groups = Field(default_factory=dict[Name, list[Name]])


class Entities(_Strict):
    """The content of ``entities.toml``."""

    groups: GroupTables = Field(default_factory=GroupTables)
    hosts: dict[Name, dict[Name, str]] = Field(default_factory=dict[Name, dict[Name, str]])

    def to_proto(self) -> v1.PolicyEntities:
        """As the core takes them."""

        def names(groups: Groups) -> dict[str, v1.Names]:
            return {group: v1.Names(names=members) for group, members in groups.items()}

        return v1.PolicyEntities(
            user_groups=names(self.groups.users),
            agent_groups=names(self.groups.agents),
            host_groups=names(self.groups.hosts),
            host_labels={host: v1.Labels(labels=labels) for host, labels in self.hosts.items()},
        )


def load_entities(path: Path) -> v1.PolicyEntities:
    """Reads groups and labels from a TOML file; a missing file means none.

    Raises:
        InvalidConfigurationError: The file is not TOML, or names something that is no name.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return v1.PolicyEntities()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from None
    try:
        return Entities.model_validate(tomllib.loads(text)).to_proto()
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigurationError(f"{path}: {error}; mend the TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"] if part != "[key]"]
        line = line_of(text, names)
        where = f"{path}:{line}" if line else str(path)
        raise InvalidConfigurationError.fix(
            f"{where}: {'.'.join(names)}: {first['msg']}",
            "tables [groups.users], [groups.agents], [groups.hosts] of lists of names, and [hosts.NAME] of labels",
        ) from error
