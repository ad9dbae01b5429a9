"""Sandboxes on the wire: E2B's names and required fields (an E2B client raises KeyError where one is missing)."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from typing import Any, Literal

from pydantic import Field

from sandkit.wire.base import Message

ENVD_VERSION = "0.6.1"


class NetworkOptions(Message):
    """Egress rules, and who may reach the ports without a token."""

    allow_out: list[str] = Field(default_factory=list)
    deny_out: list[str] = Field(default_factory=list)
    allow_public_traffic: bool | None = None


class CreateSandbox(Message):
    """`POST /sandboxes`. `timeout` is in seconds; `template_id` is an id, a name, or `name:tag`."""

    template_id: str = Field(alias="templateID", min_length=1, max_length=256)
    timeout: int = Field(300, ge=1, le=86400)
    auto_pause: bool = False
    metadata: dict[str, str] = Field(default_factory=dict)
    env_vars: dict[str, str] = Field(default_factory=dict)
    allow_internet_access: bool = Field(default=True, alias="allow_internet_access")
    network: NetworkOptions | None = None


class ConnectSandbox(Message):
    """`POST /sandboxes/{id}/connect`: resume if paused; the time-out is only ever extended for a running one."""

    timeout: int | None = Field(None, ge=1, le=86400)


class SetTimeout(Message):
    """`POST /sandboxes/{id}/timeout`: seconds from now."""

    timeout: int = Field(ge=0, le=86400)


class Refresh(Message):
    """`POST /sandboxes/{id}/refreshes`: extend only, seconds from now."""

    duration: int | None = Field(None, ge=0, le=86400)


class Sandbox(Message):
    """The answer to create and connect."""

    sandbox_id: str = Field(alias="sandboxID")
    template_id: str = Field(alias="templateID")
    client_id: str = Field("sandyard", alias="clientID")
    alias: str | None = None
    envd_version: str = ENVD_VERSION
    envd_access_token: str
    traffic_access_token: str | None = None
    domain: str | None = None


class SandboxDetail(Message):
    """One sandbox as `GET /sandboxes/{id}` shows it; `isolation` is what was really achieved."""

    sandbox_id: str = Field(alias="sandboxID")
    template_id: str = Field(alias="templateID")
    client_id: str = Field("sandyard", alias="clientID")
    alias: str | None = None
    build_id: str | None = Field(None, alias="buildID")
    started_at: datetime
    end_at: datetime
    state: Literal["running", "paused"]
    cpu_count: int
    memory_mb: int = Field(alias="memoryMB")
    disk_size_mb: int = Field(alias="diskSizeMB")
    envd_version: str = ENVD_VERSION
    metadata: dict[str, str] = Field(default_factory=dict)
    envd_access_token: str | None = None
    lifecycle: dict[str, Any] | None = None
    isolation: dict[str, Any] | None = None


class SandboxLog(Message):
    """One line that the agent printed."""

    timestamp: datetime
    line: str


class SandboxLogs(Message):
    """`GET /sandboxes/{id}/logs`."""

    logs: list[SandboxLog]
    log_entries: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
