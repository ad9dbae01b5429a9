"""`ppio_sandbox.agent_runtime` under the name and with the spellings of seed 002 (seed-resolutions 1-3)."""

from __future__ import annotations

from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError, RuntimeError, ValidationError  # noqa: A004 (seed 001 §6.1)
from ppio_sandbox.agent_runtime.runtime.app import AgentRuntimeApp
from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.limiter import RateLimiter
from ppio_sandbox.agent_runtime.runtime.metrics import MetricsCollector
from ppio_sandbox.agent_runtime.runtime.models import (
    AgentMetadata,
    InvocationRequest,
    InvocationResponse,
    PingResponse,
    PingStatus,
    RequestContext,
    RuntimeConfig,
)
from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig as AgentConfig
from ppio_sandbox.agent_runtime.runtime.server import AgentRuntimeServer as PPIOAgentRuntimeServer

__all__ = [
    "AgentConfig",
    "AgentMetadata",
    "AgentRuntimeContext",
    "InvocationRequest",
    "InvocationResponse",
    "MetricsCollector",
    "PPIOAgentRuntimeApp",
    "PPIOAgentRuntimeError",
    "PPIOAgentRuntimeServer",
    "PingResponse",
    "PingStatus",
    "RateLimiter",
    "RequestContext",
    "RuntimeConfig",
    "RuntimeError",
    "ValidationError",
]


class PPIOAgentRuntimeApp(AgentRuntimeApp):
    """`AgentRuntimeApp`, whose first argument may also be `debug` (seed 002 §3.2)."""

    def __init__(self, config: RuntimeConfig | bool | None = None, debug: bool = False) -> None:
        if isinstance(config, bool):
            config, debug = None, config
        super().__init__(config, debug)
