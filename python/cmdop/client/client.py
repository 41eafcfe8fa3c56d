"""`Client`: the way from a Python program to a server."""

from __future__ import annotations

import getpass
import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from cmdop import v1
from cmdop._bridge import Bridge, CoreClient
from cmdop.client.approvals import Approvals
from cmdop.client.calls import Calls
from cmdop.client.connection import Connection
from cmdop.client.freezes import Freezes
from cmdop.client.grants import Grants
from cmdop.client.hosts import HostClient, Hosts
from cmdop.client.policies import Policies
from cmdop.client.previews import Previews
from cmdop.client.runs import Runs, Traces
from cmdop.client.tools import Tools
from cmdop.errors import InvalidConfigurationError

DEFAULT_ADDRESS: Final = "127.0.0.1:7717"
"""Where a server listens unless it is told otherwise."""


class Client:
    """Guarded calls, approvals, hosts, tools, runs and traces of one server.

    Use it in `async with`; it connects on entering and belongs to that event loop.

    Args:
        address: `host:port` of the server. Default: the environment's `CMDOP_ADDRESS`, else
            `127.0.0.1:7717`.
        user: Who acts or decides. Default: the environment's `CMDOP_USER`, else who the token is of, else the login
            name.
        agent: Name of the agent that acts for the user. Its autonomy level then applies. An empty one is an
            error (`InvalidConfigurationError`), never the user.
        run: The agent run that calls belong to. A run that is started begins from it: what is refused to one is refused
            to the other.
        session: The conversation that calls belong to.
        token: What shows who decides, on a server that knows its approvers. Default: the environment's
            `CMDOP_TOKEN`.
        connect_timeout_s: How long connecting may take, seconds.

    Raises:
        UnreachableError: On entering, if no server answers at the address.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
        session: str | None = None,
        token: str | None = None,
        connect_timeout_s: float = 5.0,
    ) -> None:
        self.address: str = address or os.environ.get("CMDOP_ADDRESS") or DEFAULT_ADDRESS
        """Address of the server."""
        self._connect_timeout_ms = max(1, round(connect_timeout_s * 1000))
        if agent is not None and not agent.strip():
            # An unset variable in `--agent "$AGENT"` must not turn an agent into its user.
            raise InvalidConfigurationError.fix(
                "the agent has no name, and without one the call would be the user's own",
                "the name of an agent; leave it out to act as the user",
            )
        self._token = token if token is not None else os.environ.get("CMDOP_TOKEN", "")
        actor = v1.Actor(user=user or environment_user(self._token), agent=agent, run=run, session=session)
        self._connection = Connection(actor)
        self._exits = AsyncExitStack()
        self.calls: Calls = Calls(self._connection)
        """Propose, read, follow and cancel calls."""
        self.approvals: Approvals = Approvals(self._connection)
        """See and decide what is held."""
        self.previews: Previews = Previews(self.calls, self.approvals)
        """What held calls would change: show, commit, discard."""
        self.hosts: Hosts = Hosts(self._connection)
        """The machines."""
        self.tools: Tools = Tools(self._connection)
        """What may be called, with JSON Schemas."""
        self.policies: Policies = Policies(self._connection)
        """What calls are decided by."""
        self.freezes: Freezes = Freezes(self._connection)
        """What is stopped, and lifting it."""
        self.grants: Grants = Grants(self._connection)
        """What people agreed to beforehand."""
        self.runs: Runs = Runs(self._connection)
        """Runs of agents."""
        self.traces: Traces = Traces(self._connection)
        """Everything recorded about a call or a run."""

    @property
    def user(self) -> str:
        """Who acts or decides through this client."""
        return self._connection.actor.user

    @property
    def agent(self) -> str:
        """The agent that acts for the user; empty if the user acts in person."""
        return self._connection.actor.agent

    def host(self, name: str) -> HostClient:
        """The tools of one host. Nothing is sent: an unknown name fails at its first call."""
        return HostClient(self.calls, name)

    async def __aenter__(self) -> Self:
        exits = AsyncExitStack()
        bridge = await exits.enter_async_context(Bridge())
        try:
            config = v1.ClientConfig(
                address=self.address, connect_timeout_ms=self._connect_timeout_ms, token=_sendable(self._token)
            )
            core = CoreClient(bridge, config)
            await core.connect()
        except InvalidConfigurationError as error:
            await exits.aclose()
            raise InvalidConfigurationError.fix(
                f"the server's address cannot be used: {error.message}",
                "HOST:PORT of a server, such as 127.0.0.1:7717, from --server, CMDOP_ADDRESS or Client(address)",
            ) from None
        except BaseException:
            await exits.aclose()
            raise
        self._connection.core = core
        self._exits = exits
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.core = None
        await self._exits.__aexit__(kind, error, traceback)


def _sendable(token: str) -> str:
    if token.isascii() and all(character.isprintable() and character != " " for character in token):
        return token
    raise InvalidConfigurationError.fix(
        "the token cannot be sent", "what `cmdop approvers add` printed, from --token, CMDOP_TOKEN or Client(token=…)"
    )


def environment_user(token: str = "") -> str:
    """Who acts if nobody is named: the environment's `CMDOP_USER`, else whose token it is, else the login name."""
    name = os.environ.get("CMDOP_USER") or token.rpartition(".")[0]
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A user id without an entry in the password database, as in many containers.
        return f"uid-{os.getuid()}"
