"""Who answers approvals: names, groups and digests of tokens, in `DATA/approvers.toml`.

::

    [approvers.grace]
    groups = ["operators"]
    token_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

`cmdop approvers add grace` writes it and prints the token, once. Without the file, or without a table in it, everybody
is believed to be who they say.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cmdop import v1
from cmdop.errors import InvalidConfigurationError, StorageFullError
from cmdop.policy.entities import Name
from cmdop.policy.levels import line_of

FILE: Final = "approvers.toml"

SECRET_BYTES: Final = 32
"""Random bytes of a token."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

HEAD: Final = "# Who answers approvals. Written by `cmdop approvers`; read by `cmdop policy reload`.\n"


class Approver(BaseModel):
    """One person."""

    model_config = ConfigDict(extra="forbid")

    groups: list[Name] = Field(default_factory=list[Name])
    token_sha256: Digest


class Approvers(BaseModel):
    """The content of ``approvers.toml``."""

    model_config = ConfigDict(extra="forbid")

    approvers: dict[Name, Approver] = Field(default_factory=dict[Name, Approver])

    def to_proto(self) -> list[v1.KnownApprover]:
        """As the core takes them."""
        known = self.approvers.items()
        return [v1.KnownApprover(name=name, token_sha256=bytes.fromhex(one.token_sha256)) for name, one in known]

    def join_groups(self, entities: v1.PolicyEntities) -> v1.PolicyEntities:
        """Groups and labels with these people in the groups that they are in."""
        joined = v1.PolicyEntities()
        joined.CopyFrom(entities)
        for name, approver in sorted(self.approvers.items()):
            for group in approver.groups:
                members = joined.user_groups[group].names
                if name not in members:
                    members.append(name)
        return joined


def load_approvers(data: Path) -> Approvers:
    """The approvers of a data directory; a missing file means none.

    Raises:
        InvalidConfigurationError: The file cannot be read or understood: then nobody is believed.
    """
    path = data / FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Approvers()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError.fix(f"{path} cannot be read: {error}", "a file of approvers") from None
    try:
        return Approvers.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigurationError.fix(f"{path}: {error}", "TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"] if part != "[key]"]
        line = line_of(text, names)
        where = f"{path}:{line}" if line else str(path)
        raise InvalidConfigurationError.fix(
            f"{where}: {'.'.join(names)}: {first['msg']}", "tables [approvers.NAME] with groups and token_sha256"
        ) from error


def new_token(name: str) -> str:
    """A token for somebody: their name, so that clients know whose it is, and a secret."""
    return f"{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def digest_of(token: str) -> str:
    """What of a token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


@contextlib.contextmanager
def changing(data: Path) -> Generator[Approvers]:
    """The approvers of a data directory, to be changed: what is left of them is written, whole or not at all.

    Raises:
        InvalidConfigurationError: The directory or the file cannot be used; nothing is changed.
        StorageFullError: There is no room; nothing is changed.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data / f".{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(data, error) from None
    try:
        # Of two who change it at once, the second sees what the first one wrote.
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = load_approvers(data)
        yield known
        try:
            _write(data / FILE, known)
        except OSError as error:
            raise _unusable(data, error) from None
    finally:
        os.close(lock)


def _write(path: Path, known: Approvers) -> None:
    text = HEAD
    for name, approver in sorted(known.approvers.items()):
        # Strings of JSON are strings of TOML, as long as they hold names and digests.
        text += f"\n[approvers.{json.dumps(name)}]\n"
        text += f"groups = {json.dumps(approver.groups)}\ntoken_sha256 = {json.dumps(approver.token_sha256)}\n"
    fresh = path.with_suffix(".new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unusable(data: Path, error: OSError) -> InvalidConfigurationError | StorageFullError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"no room for {data / FILE}: {error.strerror}; make room, then do it again")
    return InvalidConfigurationError.fix(
        f"{data / FILE} cannot be written: {error.strerror}", "a data directory that you may write to"
    )
