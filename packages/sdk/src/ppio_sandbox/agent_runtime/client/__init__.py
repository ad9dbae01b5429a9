"""The caller's side: sessions in isolated sandboxes, calls, streams (seeds 000 and 001 §4).

The synchronous twin is imported when it is first used: it has an HTTP library of its own.
"""

from typing import TYPE_CHECKING

from ppio_sandbox import _lazy
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

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.client.sync_client import SyncAgentRuntimeClient
    from ppio_sandbox.agent_runtime.client.sync_session import SyncChunkStream, SyncSandboxSession

__getattr__ = _lazy.names(
    __name__,
    {"sync_client": ("SyncAgentRuntimeClient",), "sync_session": ("SyncChunkStream", "SyncSandboxSession")},
)

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
    "SyncAgentRuntimeClient",
    "SyncChunkStream",
    "SyncSandboxSession",
    "TemplateManager",
    "TemplateNotFoundError",
    "ValidationError",
]
