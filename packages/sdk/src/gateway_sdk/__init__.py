"""Call prefabs and move files through the gateway (seed 004). What is exported is in `__all__`, and nothing else is public.

No HTTP library is imported before the first call, and then only the one of the client that makes it; the asynchronous client is imported
when it is first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gateway_sdk.client import GatewayClient
from gateway_sdk.exceptions import (
    AgentContextRequiredError,
    AuthenticationError,
    GatewayError,
    JobNotFoundError,
    MissingSecretError,
    PrefabExecutionError,
    PrefabNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    StoredFileNotFoundError,
    ValidationError,
)
from gateway_sdk.models import BatchResult, CallStatus, Job, JobStatus, PrefabCall, PrefabInfo, PrefabResult, StreamEvent
from gateway_sdk.prefab import AsyncPrefab, Prefab
from gateway_sdk.streams import AsyncEventStream, EventStream

if TYPE_CHECKING:
    from gateway_sdk.async_client import AsyncGatewayClient

__all__ = [
    "AgentContextRequiredError",
    "AsyncEventStream",
    "AsyncGatewayClient",
    "AsyncPrefab",
    "AuthenticationError",
    "BatchResult",
    "CallStatus",
    "EventStream",
    "GatewayClient",
    "GatewayError",
    "Job",
    "JobNotFoundError",
    "JobStatus",
    "MissingSecretError",
    "Prefab",
    "PrefabCall",
    "PrefabExecutionError",
    "PrefabInfo",
    "PrefabNotFoundError",
    "PrefabResult",
    "QuotaExceededError",
    "RateLimitError",
    "ServiceUnavailableError",
    "StoredFileNotFoundError",
    "StreamEvent",
    "ValidationError",
]


def __getattr__(name: str) -> Any:
    if name != "AsyncGatewayClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = importlib.import_module("gateway_sdk.async_client").AsyncGatewayClient
    globals()[name] = found
    return found
