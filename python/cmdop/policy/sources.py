"""Policies by their names: packs that ship with cmdop, Cedar files, and directories of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cmdop import v1
from cmdop.errors import InvalidConfigurationError


def is_pack(name: str) -> bool:
    """Whether a name means a pack. A file's has a `/` or ends in `.cedar`."""
    return "/" not in name and not name.endswith(".cedar")


def read_sources(names: Iterable[str], *, missing_ok: bool = False) -> list[v1.PolicyFile]:
    """The policies that these names mean, in order.

    Args:
        names: Packs, files, and directories, of which every `*.cedar` file counts, by name.
        missing_ok: A directory or file that is not there counts as empty.

    Raises:
        InvalidConfigurationError: A file cannot be read; the message names it.
    """
    files: list[v1.PolicyFile] = []
    for name in names:
        if is_pack(name):
            files.append(v1.PolicyFile(pack=name))
            continue
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.glob("*.cedar"))
            if not inside and not missing_ok:
                # No files would mean the default pack, which is not what was asked for.
                raise InvalidConfigurationError.fix(f"there is no *.cedar file in {path}", "a directory with policies")
            files += [_file(each) for each in inside]
        elif path.exists() or not missing_ok:
            files.append(_file(path))
    return files


def _file(path: Path) -> v1.PolicyFile:
    try:
        content = path.read_bytes()
        return v1.PolicyFile(name=str(path), text=content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidConfigurationError.fix(
            f"{path}:{line}: it is not UTF-8 text: {error.reason}", "UTF-8 text"
        ) from None
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"the policy file {path} cannot be read: {error}",
            "a Cedar file, a directory of them, or the name of a pack",
        ) from None
