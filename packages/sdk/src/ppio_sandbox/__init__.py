"""Sandboxes for AI agents: `ppio_sandbox.agent_runtime` makes agents and calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_sandbox import _lazy

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime import AgentRuntimeApp, AgentRuntimeClient

__all__ = ["AgentRuntimeApp", "AgentRuntimeClient"]

__getattr__ = _lazy.names(__name__, {"agent_runtime": __all__})
