"""The front door: what `agentscope.runtime` is.

Raises:
    ImportError: AgentScope is not there, or is not 1.x.
"""

from __future__ import annotations

from agentapp import adapters
from agentapp.app import AgentApp, SessionContext
from agentapp.errors import (
    AppError,
    ConfigError,
    ModelError,
    NotInitializedError,
    SessionBusy,
    SessionConflict,
    SessionError,
    SessionNotFound,
    SessionTooLarge,
    StoreError,
    ToolError,
)
from agentapp.running import Runtime, runtime

__all__ = [
    "AgentApp",
    "AppError",
    "ConfigError",
    "ModelError",
    "NotInitializedError",
    "Runtime",
    "SessionBusy",
    "SessionConflict",
    "SessionContext",
    "SessionError",
    "SessionNotFound",
    "SessionTooLarge",
    "StoreError",
    "ToolError",
    "runtime",
]

adapters.install()
