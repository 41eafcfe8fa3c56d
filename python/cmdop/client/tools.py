"""Tools: what may be called."""

from __future__ import annotations

from cmdop import v1
from cmdop.client.connection import Connection


class Tools:
    """`client.tools`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> list[v1.ToolContract]:
        """All registered tools with their schemas, by name."""
        answer = await self._connection.unary("Tools/List", v1.ListToolsRequest(), v1.ListToolsResponse)
        return [*answer.tools]

    async def describe(self, name: str) -> v1.ToolContract:
        """One tool with its schemas.

        Raises:
            UnknownToolError: There is none of that name.
        """
        return await self._connection.unary("Tools/Describe", v1.DescribeToolRequest(name=name), v1.ToolContract)
