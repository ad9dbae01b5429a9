"""The caller's side: sessions in isolated sandboxes, calls, streams (seeds 000 and 001 §4)."""

from ppio_sandbox.agent_runtime.client.auth import AuthManager
from ppio_sandbox.agent_runtime.client.client import AgentRuntimeClient
from ppio_sandbox.agent_runtime.client.exceptions import (
    AgentClientError,
    AuthenticationError,
    InvocationError,
    NetworkError,
    QuotaExceededError,
    RateLimitError,
    SandboxCreationError,
    SandboxOperationError,
    SessionNotFoundError,
    TemplateNotFoundError,
)
from ppio_sandbox.agent_runtime.client.models import AgentTemplate, ClientConfig, SandboxConfig, SessionStatus
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from ppio_sandbox.agent_runtime.client.session import SandboxSession
from ppio_sandbox.agent_runtime.client.stream import ChunkStream
from ppio_sandbox.agent_runtime.client.template import TemplateManager
from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError, ValidationError
from sandkit.wire.invocations import InvocationRequest, InvocationResponse, PingResponse, PingStatus

__all__ = [
    "AgentClientError",
    "AgentRuntimeClient",
    "AgentTemplate",
    "AuthManager",
    "AuthenticationError",
    "ChunkStream",
    "ClientConfig",
    "InvocationError",
    "InvocationRequest",
    "InvocationResponse",
    "NetworkError",
    "PPIOAgentRuntimeError",
    "PingResponse",
    "PingStatus",
    "QuotaExceededError",
    "RateLimitError",
    "Sandbox",
    "SandboxConfig",
    "SandboxCreationError",
    "SandboxOperationError",
    "SandboxSession",
    "SessionNotFoundError",
    "SessionStatus",
    "TemplateManager",
    "TemplateNotFoundError",
    "ValidationError",
]
