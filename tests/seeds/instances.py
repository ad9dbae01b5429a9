"""One instance of each class whose listing shows what its constructor sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, AuthManager, SandboxSession, TemplateManager
from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError

KEY = "sk-" + "0" * 40


def make(cls: type) -> Any:
    """Return an instance; nothing is sent by making it."""
    client = AgentRuntimeClient(KEY)
    if cls is AgentRuntimeClient:
        return client
    if cls is SandboxSession:
        return SandboxSession("template-id", SimpleNamespace(id="sb-1", get_host=str), client)  # pyright: ignore[reportArgumentType] (any object with these)
    if cls is AuthManager:
        return AuthManager(KEY)
    if cls is TemplateManager:
        return TemplateManager(client.auth_manager)
    if issubclass(cls, PPIOAgentRuntimeError):
        return cls("message")
    return cls()
