"""Autonomy levels from a file: who looks at what an agent does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cmdop import v1
from cmdop.errors import InvalidConfigurationError

Level = Literal["shadow", "ask", "preview", "auto"]


class Levels(BaseModel):
    """The content of ``autonomy.toml``: a default level, and levels by agent name."""

    model_config = ConfigDict(extra="forbid")

    default: Level = "ask"
    agents: dict[Annotated[str, StringConstraints(min_length=1)], Level] = Field(default_factory=dict[str, Level])

    def to_proto(self) -> v1.AutonomyConfig:
        """The levels as the core takes them."""
        return v1.AutonomyConfig(
            default_level=_number(self.default),
            agents={name: _number(level) for name, level in self.agents.items()},
        )


def load_levels(path: Path) -> Levels:
    """Reads levels from a TOML file; a missing file means `ask` for everyone.

    Raises:
        InvalidConfigurationError: The file is not TOML or names an unknown level.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Levels()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from None
    try:
        return Levels.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise InvalidConfigurationError(f"{where}: {error}; mend the TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"] if part != "[key]"]
        line = line_of(text, names)
        where = f"{path}:{line}" if line else str(path)
        raise InvalidConfigurationError.fix(
            f"{where}: {'.'.join(names)}: {first['msg']}", "levels `shadow`, `ask`, `preview` or `auto`"
        ) from error


def line_of(text: str, names: list[str]) -> int | None:
    """Where a TOML file says what these keys lead to: the line of the deepest one that stands there."""
    for depth in range(len(names), 0, -1):
        is_key = re.compile(rf"""\s*(\[\s*)?(.*\.)?["']?{re.escape(names[depth - 1])}["']?\s*[=\].]""")
        for number, line in enumerate(text.splitlines(), 1):
            if is_key.match(line):
                return number
    return None


def _number(level: Level) -> v1.AutonomyLevel:
    return cast("v1.AutonomyLevel", v1.AutonomyLevel.Value("AUTONOMY_LEVEL_" + level.upper()))
