"""Templates, builds and deployments on the wire."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from typing import Any, Literal

from pydantic import Field

from sandkit.wire.base import Message

BuildStatusWord = Literal["waiting", "building", "ready", "error"]
Phase = Literal["pending", "building", "deployed", "failed"]


class Deployment(Message):
    """The answer (202) to `POST /agents`: a build was accepted and waits its turn."""

    template_id: str = Field(alias="templateID")
    build_id: str = Field(alias="buildID")
    name: str
    tags: list[str]


class TemplateInfo(Message):
    """`GET /templates` (a list of these) and `GET /templates/{id}`; describes the build that the tag `latest` points at,
    or the newest one where none is deployed yet. `metadata` is `{"agent": <the manifest with its status>}`.
    """

    template_id: str = Field(alias="templateID")
    build_id: str | None = Field(None, alias="buildID")
    name: str
    aliases: list[str]
    names: list[str]
    tags: list[str]
    """The manifest's `metadata.tags` (what `list_templates(tags=…)` filters by)."""
    build_tags: list[str]
    """The movable tags of this template (`latest`, `v2`)."""
    public: bool = False
    build_status: BuildStatusWord
    phase: Phase
    cpu_count: int
    memory_mb: int = Field(alias="memoryMB")
    disk_size_mb: int = Field(alias="diskSizeMB")
    envd_version: str
    created_at: datetime
    updated_at: datetime
    size: int | None = None
    build_time: float | None = None
    build_count: int = 1
    created_by: None = None
    spawn_count: int = 0
    """Not counted: E2B's clients ask for the field."""
    last_spawned_at: datetime | None = None
    dependencies: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class BuildLogEntry(Message):
    """One log line; `number` counts from 0 within the build."""

    number: int
    timestamp: datetime
    message: str
    level: Literal["debug", "info", "warn", "error"] = "info"


class BuildReason(Message):
    """Why a build failed; `output` holds its last lines."""

    message: str
    output: str = ""


class BuildStatus(Message):
    """`GET /templates/{id}/builds/{buildID}/status?logsOffset=N&limit=M`."""

    template_id: str = Field(alias="templateID")
    build_id: str = Field(alias="buildID")
    status: BuildStatusWord
    phase: Phase
    logs: list[str] = Field(default_factory=list)
    log_entries: list[BuildLogEntry] = Field(default_factory=list[BuildLogEntry])
    reason: BuildReason | None = None


class TagInfo(Message):
    """A movable tag of a template, of `GET /templates/{id}/tags`."""

    tag: str
    build_id: str = Field(alias="buildID")
    created_at: datetime
