"""What the client takes and gives (seed 001 §5.1)."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class SessionStatus(StrEnum):
    """State of a session."""

    ACTIVE = "active"
    """Running; takes calls."""
    PAUSED = "paused"
    """Frozen; its memory is kept, it takes no calls until it is resumed."""
    INACTIVE = "inactive"
    """Neither; this platform has no such state, a session is given out when its agent listens."""
    CLOSED = "closed"
    """Ended as it was meant to: closed, or its time was up."""
    ERROR = "error"
    """Ended by a failure: its agent exited, or could not be started."""


class AgentTemplate(BaseModel, defer_build=True):
    """A deployed agent. `metadata["agent"]` is its manifest; `size` is in bytes, `build_time` in seconds."""

    template_id: str
    name: str
    version: str
    description: str | None = None
    author: str | None = None
    tags: list[str] = Field(default_factory=list)
    created_at: datetime
    updated_at: datetime
    status: str
    """`pending`, `building`, `deployed` or `failed`."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    size: int | None = None
    build_time: float | None = None
    dependencies: list[str] = Field(default_factory=list)
    runtime_info: dict[str, Any] | None = None


class SandboxConfig(BaseModel, defer_build=True):
    """How a session is started. The manifest's limits hold where none is given here."""

    timeout_seconds: int = Field(default=300, ge=1, le=86400)
    memory_limit: str | None = None
    cpu_limit: str | None = None
    env_vars: dict[str, str] = Field(default_factory=dict, repr=False)
    volumes: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])
    ports: list[int] = Field(default_factory=lambda: [8080])


class ClientConfig(BaseModel, defer_build=True):
    """Settings of a client; times are in seconds."""

    base_url: str | None = None
    timeout: int = Field(default=300, ge=1)
    """Of one call to an agent; of a stream, the longest silence."""
    max_retries: int = Field(default=3, ge=0)
    """How often a refused `create_session` is tried again."""
    retry_delay: float = Field(default=1.0, ge=0)
    """Before trying again, where the platform does not say how long."""

    max_connections: int = Field(default=100, ge=1)
    max_keepalive_connections: int = Field(default=20, ge=0)
    """How many idle connections are kept."""
    keepalive_expiry: float = Field(default=30.0, gt=0)
    """How long."""

    enable_cache: bool = False
    """Whether lists of templates are kept for a while; off unless asked for (seed-resolutions 13)."""
    cache_ttl: int = Field(default=300, ge=0)
    """How long."""

    sandbox_url: str | None = None
    """The ingress. Else `PPIO_SANDBOX_URL`, else port 8801 of the platform's host."""
    connect_timeout: float = Field(default=10.0, gt=0)
    create_timeout: float = Field(default=120.0, gt=0)
    """Of starting a session until its agent listens, the tries included."""
    control_timeout: float = Field(default=30.0, gt=0)
    """Of any other call to the platform."""
