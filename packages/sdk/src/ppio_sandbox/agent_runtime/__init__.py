"""Agents: the runtime half makes a service of a function, the client half calls agents in isolated sandboxes (seed 001 §2.2).

Names are imported when they are first used: an agent's process never pays for the client, nor the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppio_sandbox import _lazy

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.client import (
        AgentClientError,
        AgentRuntimeClient,
        AgentTemplate,
        AuthenticationError,
        AuthManager,
        ClientConfig,
        InvocationError,
        NetworkError,
        QuotaExceededError,
        RateLimitError,
        SandboxConfig,
        SandboxCreationError,
        SandboxOperationError,
        SandboxSession,
        SessionNotFoundError,
        SessionStatus,
        TemplateManager,
        TemplateNotFoundError,
    )
    from ppio_sandbox.agent_runtime.exceptions import (
        PPIOAgentRuntimeError,
        RuntimeError,  # noqa: A004 (seed 001 §6.1 names it so)
        ValidationError,
    )
    from ppio_sandbox.agent_runtime.runtime.app import (
        AgentRuntimeApp,
    )
    from ppio_sandbox.agent_runtime.runtime.context import (
        AgentRuntimeContext,
    )
    from ppio_sandbox.agent_runtime.runtime.models import (
        AgentConfig,
        AgentMetadata,
        AgentSpec,
        AgentStatus,
        DeploymentPhase,
        InvocationRequest,
        InvocationResponse,
        PingResponse,
        PingStatus,
        RequestContext,
        RuntimeConfig,
        RuntimeSpec,
        SandboxSpec,
    )
    from ppio_sandbox.agent_runtime.runtime.server import (
        AgentRuntimeServer,
    )

__version__ = "1.0.0"

__all__ = [
    "AgentClientError",
    "AgentConfig",
    "AgentMetadata",
    "AgentRuntimeApp",
    "AgentRuntimeClient",
    "AgentRuntimeContext",
    "AgentRuntimeServer",
    "AgentSpec",
    "AgentStatus",
    "AgentTemplate",
    "AuthManager",
    "AuthenticationError",
    "ClientConfig",
    "DeploymentPhase",
    "InvocationError",
    "InvocationRequest",
    "InvocationResponse",
    "NetworkError",
    "PPIOAgentRuntimeError",
    "PingResponse",
    "PingStatus",
    "QuotaExceededError",
    "RateLimitError",
    "RequestContext",
    "RuntimeConfig",
    "RuntimeError",
    "RuntimeSpec",
    "SandboxConfig",
    "SandboxCreationError",
    "SandboxOperationError",
    "SandboxSession",
    "SandboxSpec",
    "SessionNotFoundError",
    "SessionStatus",
    "TemplateManager",
    "TemplateNotFoundError",
    "ValidationError",
]

__getattr__ = _lazy.names(
    __name__,
    {
        "runtime.app": ("AgentRuntimeApp",),
        "runtime.context": ("AgentRuntimeContext",),
        "runtime.models": (
            "AgentConfig",
            "AgentMetadata",
            "AgentSpec",
            "AgentStatus",
            "DeploymentPhase",
            "InvocationRequest",
            "InvocationResponse",
            "PingResponse",
            "PingStatus",
            "RequestContext",
            "RuntimeConfig",
            "RuntimeSpec",
            "SandboxSpec",
        ),
        "runtime.server": ("AgentRuntimeServer",),
        "client": (
            "AgentClientError",
            "AgentRuntimeClient",
            "AgentTemplate",
            "AuthManager",
            "AuthenticationError",
            "ClientConfig",
            "InvocationError",
            "NetworkError",
            "QuotaExceededError",
            "RateLimitError",
            "SandboxConfig",
            "SandboxCreationError",
            "SandboxOperationError",
            "SandboxSession",
            "SessionNotFoundError",
            "SessionStatus",
            "TemplateManager",
            "TemplateNotFoundError",
        ),
        "exceptions": (
            "PPIOAgentRuntimeError",
            "RuntimeError",
            "ValidationError",
        ),
    },
)
