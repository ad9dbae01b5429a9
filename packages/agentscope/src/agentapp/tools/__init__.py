"""MCP servers and their tools; knows nothing of AgentScope."""

from agentapp.tools.links import Link
from agentapp.tools.registry import Registry

__all__ = ["Link", "Registry"]
