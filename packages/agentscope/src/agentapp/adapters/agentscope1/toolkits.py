"""`runtime.tools`: AgentScope's toolkit with the tools of the MCP servers, as they come and go."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (AgentScope is annotated with bare dicts, lists and queues)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentscope.mcp import MCPToolFunction
from agentscope.tool import Toolkit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from agentscope.message import ToolUseBlock
    from agentscope.tool import ToolResponse

    from agentapp.tools import Registry


class RuntimeToolkit(Toolkit):
    """A toolkit that looks for new tools of `registry` whenever it is used. Agents write to their toolkit, so each gets a fork."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self._seen = -1
        self._served: set[str] = set()
        self._refresh()

    def fork(self) -> RuntimeToolkit:
        """Return a toolkit with the same tools, groups and middlewares, that changes by itself."""
        twin = RuntimeToolkit(self._registry)
        twin.tools = {**self.tools, **twin.tools}
        twin.groups.update({name: type(group)(**vars(group)) for name, group in self.groups.items()})
        twin.skills.update(self.skills)
        for middleware in self._middlewares:
            twin.register_middleware(middleware)
        return twin

    def register_tool_function(self, tool_func: Any, *args: Any, **kwargs: Any) -> None:
        """Register a tool. Once more the same function is no clash: each session's instance runs the same `on_startup`."""
        name = kwargs.get("func_name") or getattr(tool_func, "__name__", None)
        known = self.tools.get(name) if name else None
        if known is not None and known.original_func is tool_func:
            del self.tools[known.name]
        super().register_tool_function(tool_func, *args, **kwargs)

    def get_json_schemas(self) -> list[dict[str, Any]]:
        """Return the schemas of the tools that there are now."""
        self._refresh()
        return super().get_json_schemas()

    async def call_tool_function(self, tool_call: ToolUseBlock) -> AsyncGenerator[ToolResponse]:
        """Call a tool that there is now."""
        self._refresh()
        return await super().call_tool_function(tool_call)  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType] (a decorated generator)

    def _refresh(self) -> None:
        if self._seen == self._registry.version:
            return
        self._seen = self._registry.version
        entries = list(self._registry.entries())
        for gone in self._served - {entry.name for entry in entries}:
            self.remove_tool_function(gone)
        for entry in entries:
            if entry.name in self._served:
                self.remove_tool_function(entry.name)
            function = MCPToolFunction(entry.link.name, entry.tool, wrap_tool_result=True, session=entry.link)  # pyright: ignore[reportArgumentType] (of a session it needs `call_tool`)
            self.register_tool_function(function, func_name=entry.name, namesake_strategy="skip")
        self._served = {entry.name for entry in entries}
