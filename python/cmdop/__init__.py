"""cmdop makes an AI agent's actions on live infrastructure trustworthy.

    async with cmdop.Client() as client:
        host = client.host("local")
        call = await host.terminal.exec(
            "rm -f ./logs/*.gz",
            cwd="/srv/app",
            intent="free disk space",
            expect=[cmdop.Expect("file.delete", "/srv/app/logs/*.gz")],
        )

Everything here runs on asyncio and on trio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmdop import v1 as v1
    from cmdop.client import Client, HostClient, raise_for_outcome
    from cmdop.document import Expect
    from cmdop.errors import CmdopError, ExecutionError, MalformedCallError, RefusedError, ServiceError

__version__ = "0.1.0"

# Loaded on first use: `cmdop --version` should not wait for protobuf and an event loop.
_HOMES = {
    "Client": "cmdop.client",
    "HostClient": "cmdop.client",
    "raise_for_outcome": "cmdop.client",
    "Expect": "cmdop.document",
    "CmdopError": "cmdop.errors",
    "ExecutionError": "cmdop.errors",
    "MalformedCallError": "cmdop.errors",
    "RefusedError": "cmdop.errors",
    "ServiceError": "cmdop.errors",
}

__all__ = [
    "Client",
    "CmdopError",
    "ExecutionError",
    "Expect",
    "HostClient",
    "MalformedCallError",
    "RefusedError",
    "ServiceError",
    "raise_for_outcome",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'cmdop' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
