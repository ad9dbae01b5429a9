"""The runtime half's models (seed 001 §3.4, §5); those that it shares with others come from where they live."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sandkit.wire.invocations import InvocationRequest, InvocationResponse, PingResponse, PingStatus
from sandkit.wire.manifest import AgentConfig, AgentMetadata, AgentSpec, AgentStatus, DeploymentPhase, RuntimeSpec, SandboxSpec

__all__ = [
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
]


class RuntimeConfig(BaseModel):
    """Settings of an agent's server. Times are in seconds, `max_request_size` in bytes.

    `timeout` bounds a whole call (0: nothing does). `rate_limit`, if set, is how many invocations a caller may make in any
    `rate_limit_window`. A stream that is silent for `heartbeat` sends a comment.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    debug: bool = False
    timeout: int = 300
    max_request_size: int = 1024 * 1024
    cors_origins: list[str] = Field(default_factory=lambda: ["*"])
    enable_metrics: bool = True
    enable_middleware: bool = True
    rate_limit: int | None = None
    rate_limit_window: int = 60
    heartbeat: float = 15.0


class RequestContext(BaseModel):
    """What surrounds a request (seed 001 §3.3). Names of headers are in lower case; other fields may be added."""

    model_config = ConfigDict(extra="allow")

    sandbox_id: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)

    @property
    def session_id(self) -> str | None:
        """The session that an AgentCore caller names, else the sandbox id under its older name."""
        told = (self.model_extra or {}).get("runtime_session_id")
        return self.sandbox_id if told is None else str(told)
