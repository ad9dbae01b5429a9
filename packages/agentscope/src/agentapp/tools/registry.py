"""The tools of all MCP servers, each under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mcp.types import Tool

    from agentapp.tools.links import Link


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool, the name that models know it by, and the server that has it."""

    name: str
    tool: Tool
    link: Link


class Registry:
    """Names stay what they are once given: two servers' tools of one name are `name` and `server__name`."""

    def __init__(self) -> None:
        self.version = 0
        """Grows with each change."""
        self._names: dict[tuple[str, str], str] = {}
        self._tools: dict[str, tuple[Link, Sequence[Tool]]] = {}

    def put(self, link: Link, tools: Sequence[Tool]) -> None:
        """Take the tools of a server for those that it has; a server that is away keeps its tools, it may come back."""
        self._tools[link.name] = (link, tools)
        self.version += 1

    def entries(self) -> Iterator[Entry]:
        """Yield every tool."""
        for link, tools in self._tools.values():
            for tool in tools:
                yield Entry(self._named(link.name, tool.name), tool, link)

    def _named(self, server: str, tool: str) -> str:
        name = self._names.get((server, tool))
        if name is None:
            taken = set(self._names.values())
            name = self._names[server, tool] = tool if tool not in taken else f"{server}__{tool}"
        return name
