"""`python -m cmdop.host`: a host process as `cmdop up` starts it.

It prints `attached` and `detached WHY` on standard output, a line each, for its parent.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from cmdop.errors import CmdopError
from cmdop.host.process import HostOptions, run


def main() -> int:
    """Runs the host; 2 if it is told something wrong."""
    parser = argparse.ArgumentParser(prog="python -m cmdop.host", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--permit-key", type=Path, required=True)
    parser.add_argument("--workspace", action="append", default=[])
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--hide", type=Path, action="append", default=[])
    parser.add_argument("--fixture", type=Path)
    parser.add_argument("--parent", type=int)
    told = parser.parse_args()
    options = HostOptions(
        name=told.name,
        server=told.server,
        state=told.state,
        permit_key=told.permit_key,
        workspaces=told.workspace,
        labels=dict(pair.split("=", 1) for pair in told.label),
        fixture=told.fixture,
        hidden=told.hide,
        parent=told.parent,
    )
    failed: BaseException | None = None
    try:
        run(options, _report)
    except* CmdopError as group:
        failed = group
    while isinstance(failed, BaseExceptionGroup):
        # Task groups wrap what a task of theirs raised; the first is why the others ended.
        failed = failed.exceptions[0]
    if isinstance(failed, CmdopError):
        print(f"cmdop host: {failed.reason} {failed.message}", file=sys.stderr)
        return 2
    return 0


def _report(is_attached: bool, why: str) -> None:
    line = "attached" if is_attached else f"detached {why}".replace("\n", " ")
    # A parent that drains this host no longer listens. Unbuffered, so that nothing is left for exit.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
