"""Freezes: nothing changes on some hosts until a person says so."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.connection import Connection


class Freezes:
    """`client.freezes`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        why: str,
        *,
        host: str | None = None,
        group: str | None = None,
        label: tuple[str, str] | None = None,
        environment: str | None = None,
        everything: bool = False,
    ) -> v1.Freeze:
        """Freezes hosts. In force when it returns, whatever policy, levels and approvals allow.

        Args:
            why: Whoever is refused reads it.
            host: One host by its name.
            group: Every host of a group.
            label: Every host with this label, as name and value.
            environment: Every host whose label `env` has this value.
            everything: Every host.

        Raises:
            InvalidActionError: Not exactly one of these is given, or the reason is empty.
            StorageError: It could not be recorded; it is in force until the server ends.
        """
        if environment is not None:
            label = ("env", environment)
        scopes = [
            v1.FreezeScope(host=host) if host is not None else None,
            v1.FreezeScope(group=group) if group is not None else None,
            v1.FreezeScope(label=v1.HostLabel(name=label[0], value=label[1])) if label is not None else None,
            v1.FreezeScope(everything=True) if everything else None,
        ]
        given = [scope for scope in scopes if scope is not None]
        # The server says what is wrong with none; more than one would freeze less than was meant.
        scope = given[0] if len(given) == 1 else None
        request = v1.CreateFreezeRequest(scope=scope, why=why, author=self._connection.actor)
        return await self._connection.unary("Freezes/Create", request, v1.Freeze)

    async def list(self, *, lifted: bool = False) -> list[v1.Freeze]:
        """Freezes in force, newest first; with those that were lifted if asked for."""
        request = v1.ListFreezesRequest(lifted=lifted)
        return [*(await self._connection.unary("Freezes/List", request, v1.ListFreezesResponse)).freezes]

    async def lift(self, freeze_id: str, *, why: str = "") -> v1.Freeze:
        """Lifts a freeze. People only: a client that acts as an agent is refused.

        Raises:
            UnknownFreezeError: None of that id is in force.
            NotPermittedError: An agent asked.
        """
        request = v1.LiftFreezeRequest(freeze_id=freeze_id, by=self._connection.actor, why=why)
        return await self._connection.unary("Freezes/Lift", request, v1.Freeze)
