"""The runtime half: what an agent's process needs, and nothing of the client's."""

from ppio_sandbox.agent_runtime.runtime.app import AgentRuntimeApp
from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.limiter import RateLimiter
from ppio_sandbox.agent_runtime.runtime.logs import JsonFormatter
from ppio_sandbox.agent_runtime.runtime.metrics import MetricsCollector
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
from ppio_sandbox.agent_runtime.runtime.server import AgentRuntimeServer

__all__ = [
    "AgentConfig",
    "AgentMetadata",
    "AgentRuntimeApp",
    "AgentRuntimeContext",
    "AgentRuntimeServer",
    "AgentSpec",
    "AgentStatus",
    "DeploymentPhase",
    "InvocationRequest",
    "InvocationResponse",
    "JsonFormatter",
    "MetricsCollector",
    "PingResponse",
    "PingStatus",
    "RateLimiter",
    "RequestContext",
    "RuntimeConfig",
    "RuntimeSpec",
    "SandboxSpec",
]
