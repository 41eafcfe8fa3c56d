"""What a server is configured with: a data directory, its policies and its autonomy levels.

::

    DATA/policies/*.cedar   policies beside the floor; none: the shipped default policy
    DATA/autonomy.toml      default = "ask"
                            [agents]
                            cleaner = "preview"
    DATA/server/            ledger, index and signing key
"""

from __future__ import annotations

from pathlib import Path

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.policy import load_levels


def read_config(data: Path, listen: str, *, vocabulary_version: str) -> v1.ServerConfig:
    """The configuration of a server over a data directory.

    Raises:
        InvalidConfigurationError: A file cannot be read or understood; the message names it.
    """
    _check_key(data / "server" / "permit.key")
    return v1.ServerConfig(
        data_dir=str(data / "server"),
        listen=listen,
        policies=read_policies(data / "policies"),
        autonomy=load_levels(data / "autonomy.toml").to_proto(),
        vocabulary_version=vocabulary_version,
    )


def read_policies(directory: Path) -> list[v1.PolicyFile]:
    """Every `*.cedar` file of a directory, by name."""
    return [v1.PolicyFile(name=str(path), text=_text(path)) for path in sorted(directory.glob("*.cedar"))]


def _check_key(path: Path) -> None:
    """The signing key of permits is made when there is none. One that is broken is not replaced by itself."""
    try:
        size = len(path.read_bytes())
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"{path} cannot be read: {error}", "a file that the server can read"
        ) from None
    if size != 32:
        raise InvalidConfigurationError.fix(
            f"the signing key {path} must be 32 bytes, it has {size}",
            "the key from a backup; or remove the file: a new key is made, and hosts that join by "
            "`--permit-key` need the new permit.pub",
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error}") from None
