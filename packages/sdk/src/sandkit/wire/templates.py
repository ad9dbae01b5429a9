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
    """Why a build failed; `output` holds its last lines, and `log_entries` the same for E2B's clients. `step` is the number of
    the step that failed, counted from 1, or `base` or `finalize`.
    """

    message: str
    output: str = ""
    step: str | None = None
    log_entries: list[BuildLogEntry] = Field(default_factory=list[BuildLogEntry])


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


class NewTemplate(Message):
    """`POST /v3/templates`: the name of what will be built (`name` or `name:tag`), and how large its sandboxes are."""

    name: str = Field(min_length=1, max_length=300)
    tags: list[str] = Field(default_factory=list, max_length=50)
    cpu_count: int | None = Field(None, ge=1, le=64)
    memory_mb: int | None = Field(None, alias="memoryMB", ge=64, le=1024 * 1024)


class TemplateRequested(Message):
    """The answer (202) to `POST /v3/templates`: a build that waits for its files and its start."""

    template_id: str = Field(alias="templateID")
    build_id: str = Field(alias="buildID")
    public: bool
    names: list[str]
    aliases: list[str]
    tags: list[str]


class FileUpload(Message):
    """`GET /templates/{id}/files/{hash}` (201): whether the files are here, and where to PUT them if not."""

    present: bool
    url: str | None = None


class BuildStep(Message):
    """One step of a build."""

    type: Literal["COPY", "RUN", "ENV", "WORKDIR", "USER"]
    args: list[str] = Field(default_factory=list, max_length=1000)
    files_hash: str | None = None
    force: bool | None = None


class RegistryLogin(Message):
    """How to log in to the registry that `fromImage` names: a user and a password, Amazon's access key, or Google's service account."""

    type: Literal["registry", "aws", "gcp"]
    username: str | None = Field(None, max_length=1000)
    password: str | None = Field(None, max_length=20_000, repr=False)
    aws_access_key_id: str | None = Field(None, max_length=200)
    aws_secret_access_key: str | None = Field(None, max_length=200, repr=False)
    aws_region: str | None = Field(None, max_length=50)
    service_account_json: str | None = Field(None, max_length=20_000, repr=False)


class StartBuild(Message):
    """`POST /v2/templates/{id}/builds/{buildID}`: what to build from, and how. Without `from…` it is built from `base`."""

    from_image: str | None = Field(None, max_length=500)
    from_template: str | None = Field(None, max_length=300)
    from_image_registry: RegistryLogin | None = None
    force: bool | None = None
    steps: list[BuildStep] = Field(default_factory=list[BuildStep], max_length=1000)
    start_cmd: str | None = Field(None, max_length=65536)
    ready_cmd: str | None = Field(None, max_length=65536)


class TemplateAlias(Message):
    """`GET /templates/aliases/{alias}`."""

    template_id: str = Field(alias="templateID")
    public: bool


class AssignTags(Message):
    """`POST /templates/tags`: let tags point at the build that `target` (`name:tag`) means."""

    target: str = Field(max_length=300)
    tags: list[str] = Field(min_length=1, max_length=50)


class AssignedTags(Message):
    """The answer (201) to `POST /templates/tags`."""

    tags: list[str]
    build_id: str = Field(alias="buildID")


class RemoveTags(Message):
    """`DELETE /templates/tags`."""

    name: str = Field(max_length=300)
    tags: list[str] = Field(min_length=1, max_length=50)


class UpdateTemplate(Message):
    """`PATCH /templates/{id}`."""

    public: bool | None = None


class TemplatePage(Message):
    """`GET /v2/templates` as PPIO's and Novita's clients read it (pages are counted from 1)."""

    templates: list[TemplateInfo]
    total: int
    page: int
    limit: int
    total_pages: int
