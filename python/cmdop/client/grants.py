"""Standing grants: a person agrees beforehand to a few uses of a narrow kind of effect by one agent."""

from __future__ import annotations

from datetime import timedelta

from cmdop import v1
from cmdop.client.connection import Connection
from cmdop.document.words import parse_kind
from cmdop.errors import InvalidActionError

MOST_SECONDS = 100 * 365 * 86_400


class Grants:
    """`client.grants`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        agent: str,
        effect: str,
        *,
        why: str,
        uses: int,
        ttl: timedelta,
        host: str | None = None,
        group: str | None = None,
        label: tuple[str, str] | None = None,
        max_count: int | None = None,
    ) -> v1.StandingGrant:
        """Agrees to an effect before an agent asks. People only.

        It answers what policy or the agent's level would ask a person about, where everything that is asked is granted;
        each permit that is made by it uses it up once. It never answers what several people or a group must agree to,
        what cannot be taken back, what was not declared or not seen, or part of what a person rejected.

        Args:
            agent: The agent that may use it.
            effect: What may happen, as `kind:target`: `file.delete:/srv/app/logs/*.gz`. An absolute target, narrower
                than everything.
            why: For the record.
            uses: How many permits may be made by it, 1 to 1,000.
            ttl: How long it holds, at most 30 days.
            host: One host by its name.
            group: Every host of a group.
            label: Every host with this label, as name and value.
            max_count: How often the effect may happen in one call.

        Raises:
            InvalidActionError: It is not narrow, or not exactly one of host, group and label is given.
            NotPermittedError: An agent asked.
            UnauthenticatedError: The server knows its approvers, and the client has no token of one.
        """
        scopes = [
            v1.FreezeScope(host=host) if host is not None else None,
            v1.FreezeScope(group=group) if group is not None else None,
            v1.FreezeScope(label=v1.HostLabel(name=label[0], value=label[1])) if label is not None else None,
        ]
        given = [scope for scope in scopes if scope is not None]
        kind, _, target = effect.partition(":")
        try:
            number = parse_kind(kind)
        except ValueError as error:
            raise InvalidActionError.fix(str(error), "kind:target, such as file.delete:/srv/app/logs/*.gz") from None
        seconds = ttl.total_seconds()
        if not 0 < uses < 2**32 or not 0 < seconds < MOST_SECONDS:
            raise InvalidActionError.fix(
                f"a standing grant of {uses} uses for {ttl} is none", "1 to 1000 uses, and a time of at most 30 days"
            )
        request = v1.CreateGrantRequest(
            agent=agent,
            # The server says what is wrong with none; more than one would grant less than was meant.
            hosts=given[0] if len(given) == 1 else None,
            effect=v1.PermittedEffect(kind=number, target=target, max_count=max_count),
            uses=uses,
            ttl_ms=max(1, round(seconds * 1000)),
            why=why,
            author=self._connection.actor,
        )
        return await self._connection.unary("Grants/Create", request, v1.StandingGrant)

    async def list(self, *, every: bool = False) -> list[v1.StandingGrant]:
        """Grants in force, newest first; with those that are spent, expired or revoked if asked for."""
        request = v1.ListGrantsRequest(all=every)
        return [*(await self._connection.unary("Grants/List", request, v1.ListGrantsResponse)).grants]

    async def get(self, grant_id: str) -> v1.StandingGrant:
        """One grant.

        Raises:
            UnknownGrantError: None of that id is remembered.
        """
        return await self._connection.unary("Grants/Get", v1.GetGrantRequest(grant_id=grant_id), v1.StandingGrant)

    async def revoke(self, grant_id: str, *, why: str = "") -> v1.StandingGrant:
        """Revokes a grant: when it returns, no permit is made by it any more. People only.

        Raises:
            UnknownGrantError: None of that id is remembered, or it was revoked before.
            NotPermittedError: An agent asked.
            UnauthenticatedError: The server knows its approvers, and the client has no token of one.
            StorageError: It could not be recorded; it is revoked until the server ends.
        """
        request = v1.RevokeGrantRequest(grant_id=grant_id, by=self._connection.actor, why=why)
        return await self._connection.unary("Grants/Revoke", request, v1.StandingGrant)
