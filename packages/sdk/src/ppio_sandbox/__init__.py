"""Sandboxes for AI agents: `Sandbox` for commands and files, `agent_runtime` makes agents and calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_sandbox import _lazy

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime import AgentRuntimeApp, AgentRuntimeClient
    from ppio_sandbox.core import AsyncSandbox, AsyncTemplate, AsyncVolume, Sandbox, Template, Volume

_AGENTS = ["AgentRuntimeApp", "AgentRuntimeClient"]
_SANDBOXES = ["AsyncSandbox", "AsyncTemplate", "AsyncVolume", "Sandbox", "Template", "Volume"]

__all__ = ["AgentRuntimeApp", "AgentRuntimeClient", "AsyncSandbox", "AsyncTemplate", "AsyncVolume", "Sandbox", "Template", "Volume"]

__getattr__ = _lazy.names(__name__, {"agent_runtime": _AGENTS, "core": _SANDBOXES})
