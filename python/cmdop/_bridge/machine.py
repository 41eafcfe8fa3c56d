"""What a process asks of the core about itself and its machine, before any thread exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from cmdop import _core, v1
from cmdop.errors import CmdopError

Spawner: TypeAlias = "_core.Spawner"
"""The small helper process that starts commands."""


def core_version() -> str:
    """Version of the core."""
    return _core.version()


def check_json(name: str, text: bytes) -> None:
    """Reads JSON as strictly as a server reads arguments: UTF-8, no key twice, no number that is not held exactly.

    Args:
        name: What the text is, for the message.
        text: The JSON.

    Raises:
        MalformedJsonError: It is none; the message says what is wrong, at which line and column, and what to
            write instead.
    """
    try:
        _core.check_json(name, text)
    except _core.CoreError as error:
        raise _typed(error) from None


def meant_tool(name: str, contracts: Sequence[v1.ToolContract]) -> v1.ToolContract | None:
    """The tool that a name means most likely though none has it; None if it says nothing of any."""
    at = _core.meant_tool(name, [contract.SerializeToString() for contract in contracts])
    return None if at is None else contracts[at]


def start_logging(filter: str) -> None:
    """Writes the core's log to standard error, as `RUST_LOG` directives say. Once per process."""
    _core.start_logging(filter)


def start_spawner() -> Spawner:
    """Forks the small helper that starts commands. Must run before this process has threads.

    Raises:
        CmdopError: It cannot be started; the message says why.
    """
    try:
        return _core.start_spawner()
    except _core.CoreError as error:
        raise _typed(error) from None


def enter_fixture(directory: Path, keep: Sequence[Path]) -> None:
    """Presents a directory tree at its place in the file system, to this process and its children.

    Must run before this process has threads. What lies beneath `keep` stays as it is.

    Raises:
        CmdopError: This user or kernel cannot do it; the message says what to do.
    """
    try:
        _core.enter_fixture(str(directory), [str(path) for path in keep])
    except _core.CoreError as error:
        raise _typed(error) from None


def die_with_parent(parent: int) -> None:
    """Ends this process when the thread that started it ends; at once if that has happened already."""
    _core.die_with_parent(parent)


def probe() -> list[v1.Capability]:
    """What this machine can confine and observe, found out by trying."""
    return [*v1.Host.FromString(_core.probe()).capabilities]


def _typed(error: Exception) -> CmdopError:
    """Errors of the core that are not about a request carry the encoded `cmdop.v1.Error`."""
    return CmdopError.from_bytes(error.args[0])
