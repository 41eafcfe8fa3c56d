"""The policy of a server: what it is, and reading it anew."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.connection import Connection


class Policies:
    """`client.policies`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self) -> v1.PolicyStatus:
        """The policy that calls are decided by now: its version, files with their text, groups, labels and levels."""
        return await self._connection.unary("Policies/Get", v1.GetPolicyRequest(), v1.PolicyStatus)

    async def reload(self) -> v1.PolicyStatus:
        """Has the server read its policy files anew, levels and approvers too, and returns what it decides by then.

        Raises:
            InvalidConfigurationError: A file is broken; the message says where. All goes on as it was.
        """
        return await self._connection.unary("Policies/Reload", v1.ReloadPolicyRequest(), v1.PolicyStatus)
