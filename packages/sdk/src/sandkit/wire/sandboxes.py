"""Sandboxes on the wire: E2B's names and required fields (an E2B client raises KeyError where one is missing)."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from sandkit.wire.base import Message
from sandkit.wire.volumes import MountedVolume

ENVD_VERSION = "0.6.4"  # what the guest implements: metadata (0.6.2), entries in events (0.6.3), network mounts (0.6.4)
LONGEST_SECONDS = 86400

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=LONGEST_SECONDS)]


class EgressOptions(Message):
    """`PUT /sandboxes/{id}/network`: replaces what the sandbox may reach; what is left out is cleared.

    Entries are addresses, networks in CIDR form, names and `*.names`; allowed ones beat denied ones.
    """

    allow_out: list[str] = Field(default_factory=list, max_length=1000)
    deny_out: list[str] = Field(default_factory=list, max_length=1000)
    allow_internet_access: bool | None = Field(
        default=None,
        validation_alias=AliasChoices("allow_internet_access", "allowInternetAccess"),
        serialization_alias="allow_internet_access",
    )
    egress_proxy: dict[str, Any] | None = None
    dns_servers: list[str] | None = None
    rules: dict[str, Any] | None = None


class NetworkOptions(EgressOptions):
    """Egress rules, who may reach the ports without a token, and how the ports are spoken to."""

    allow_public_traffic: bool | None = None
    mask_request_host: str | None = Field(default=None, max_length=255)
    https_ports: list[Port] = Field(default_factory=list[Port], max_length=100)


class AutoResume(Message):
    """Whether traffic to a paused sandbox resumes it."""

    enabled: bool = False


class CreateSandbox(Message):
    """`POST /sandboxes`, `POST /v2/sandboxes`. `template_id` is an id, a name, or `name:tag`; `timeout` in seconds, by default 15
    on the first path and 300 on the second. `memory_mb` (MiB) and `cpu_count` hold in place of the template's, up to the operator's
    limits; E2B's clients do not send them. `node_id` is ignored: there is one node. What cannot be had here is refused by the routes:
    `mcp`, `iam`.
    """

    template_id: str = Field(alias="templateID", min_length=1, max_length=256)
    timeout: Seconds | None = None
    auto_pause: bool = False
    auto_pause_memory: bool = True
    auto_resume: AutoResume | None = None
    secure: bool | None = None
    """Taken and not needed: every sandbox is secured."""
    metadata: dict[str, str] | None = None
    env_vars: dict[str, str] | None = Field(None, repr=False)
    secrets: dict[str, str] | None = None
    """Variables and the names of the secrets that they are to hold (PPIO)."""
    volume_mounts: list[MountedVolume] | None = None
    allow_internet_access: bool | None = Field(
        default=None,
        validation_alias=AliasChoices("allow_internet_access", "allowInternetAccess"),
        serialization_alias="allow_internet_access",
    )
    network: NetworkOptions | None = None
    memory_mb: int | None = Field(default=None, alias="memoryMB", ge=16, le=2**24)
    cpu_count: float | None = Field(default=None, gt=0, le=1024)
    mcp: dict[str, Any] | None = None
    iam: dict[str, Any] | None = None


class ConnectSandbox(Message):
    """`POST /sandboxes/{id}/connect`: resume if paused; the time-out is only ever extended for a running one.

    Without `memory` a paused sandbox starts anew from its files, and its processes are gone. `network` replaces its rules.
    """

    timeout: Seconds | None = None
    memory: bool = True
    network: NetworkOptions | None = None
    allow_public_traffic: bool | None = None


class PauseSandbox(Message):
    """`POST /sandboxes/{id}/pause`; may be left out. Without `memory` only the files are kept."""

    memory: bool = True


class ResetSandbox(Message):
    """`POST /sandboxes/{id}/reset`: back to what it was made from; `resume` says whether it runs afterwards."""

    resume: bool = True
    timeout: Seconds | None = None
    network: NetworkOptions | None = None


class SnapshotSandbox(Message):
    """`POST /sandboxes/{id}/snapshots` and `commit`; may be left out. `name` may have a tag (`name:tag`)."""

    name: str | None = Field(None, max_length=200)
    alias: str | None = Field(None, max_length=200)
    memory: bool | None = None


class ForkSandbox(Message):
    """`POST /sandboxes/{id}/fork`: `count` sandboxes that begin with the files of this one."""

    timeout: Seconds = 15
    count: int = Field(1, ge=1, le=20)


class CloneSandbox(Message):
    """`POST /sandboxes/{id}/clone`: as fork, by way of a snapshot that stays. `strict`: all of them or none."""

    timeout: Seconds | None = None
    count: int = Field(1, ge=1, le=20)
    strict: bool = False


class SetTimeout(Message):
    """`POST /sandboxes/{id}/timeout`: seconds from now."""

    timeout: int = Field(ge=0, le=LONGEST_SECONDS)


class Refresh(Message):
    """`POST /sandboxes/{id}/refreshes`: extend only, seconds from now."""

    duration: int | None = Field(None, ge=0, le=LONGEST_SECONDS)


class Sandbox(Message):
    """The answer to create and connect."""

    sandbox_id: str = Field(alias="sandboxID")
    template_id: str = Field(alias="templateID")
    client_id: str = Field("sandyard", alias="clientID")
    alias: str | None = None
    envd_version: str = ENVD_VERSION
    envd_access_token: str = Field(repr=False)
    traffic_access_token: str | None = Field(None, repr=False)
    domain: str | None = None


class ListedSandbox(Message):
    """One sandbox as `GET /v2/sandboxes` shows it; never with a token."""

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
    volume_mounts: list[MountedVolume] = Field(default_factory=list[MountedVolume])
    isolation: dict[str, Any] | None = None


class SandboxDetail(ListedSandbox):
    """One sandbox as `GET /sandboxes/{id}` shows it; `isolation` is what was really achieved.

    `pause_mode` of a paused one: whether it will run on ("full"), or start anew from its files ("filesystem").
    """

    envd_access_token: str | None = Field(None, repr=False)
    domain: str | None = None
    allow_internet_access: bool | None = None
    network: dict[str, Any] | None = None
    lifecycle: dict[str, Any] | None = None
    pause_mode: Literal["full", "filesystem"] | None = None


class SandboxMetric(Message):
    """What a sandbox used at one moment. Sizes are bytes; `cpu_used_pct` is of all its CPUs together, since the metric before."""

    timestamp: datetime
    timestamp_unix: int
    cpu_count: int
    cpu_used_pct: float
    mem_used: int
    mem_total: int
    mem_cache: int
    disk_used: int
    disk_total: int


class SandboxesMetrics(Message):
    """`GET /sandboxes/metrics?sandbox_ids=…`: the latest metric of each."""

    sandboxes: dict[str, SandboxMetric]


class SandboxLog(Message):
    """One line that the sandbox's command printed."""

    timestamp: datetime
    line: str


class SandboxLogEntry(Message):
    """The same, structured."""

    timestamp: datetime
    message: str
    level: Literal["debug", "info", "warn", "error"] = "info"
    fields: dict[str, str] = Field(default_factory=dict)


class SandboxLogs(Message):
    """`GET /sandboxes/{id}/logs`."""

    logs: list[SandboxLog]
    log_entries: list[SandboxLogEntry] = Field(default_factory=list[SandboxLogEntry])


class SandboxLogsV2(Message):
    """`GET /v2/sandboxes/{id}/logs`."""

    logs: list[SandboxLogEntry]


class Snapshot(Message):
    """A saved sandbox: `snapshot_id` is taken where a template is asked for, and by `DELETE /templates/{snapshotID}`.

    `memory` says whether processes are in it; where they were wished and are not, `message` says so.
    """

    snapshot_id: str = Field(alias="snapshotID")
    names: list[str]
    memory: bool = False
    message: str | None = None


class Forked(Message):
    """One of the sandboxes that a fork should make: it, or why it is not there."""

    sandbox: Sandbox | None = None
    error: dict[str, Any] | None = None


class Cloned(Message):
    """`POST /sandboxes/{id}/clone`."""

    sandboxes: list[Sandbox]
    snapshot_template_id: str


class Reset(Message):
    """`POST /sandboxes/{id}/reset`."""

    traffic_access_token: str | None = None


class Committed(Message):
    """`POST /sandboxes/{id}/commit`: the template that the sandbox became."""

    template_id: str = Field(alias="templateID")
    build_id: str = Field(alias="buildID")
    names: list[str]
    aliases: list[str]
    tags: list[str]
    public: bool = False


class SandboxQuota(Message):
    """`GET /sandboxes/quota`: how many sandboxes this server holds and may hold, and the upper bounds of one."""

    max_sandboxes: int
    used: int
    available: int
    running: int
    paused: int
    """Of the caller's own."""
    max_cpu_count: int
    max_memory_mb: int = Field(alias="maxMemoryMB")
    max_disk_size_mb: int = Field(alias="maxDiskSizeMB")
    max_timeout: int = LONGEST_SECONDS


class SandboxEvent(Message):
    """Something that happened to a sandbox, such as `sandbox.lifecycle.created`."""

    id: str
    version: str = "v1"
    type: str
    timestamp: datetime
    sandbox_id: str
    sandbox_template_id: str
    sandbox_build_id: str
    event_data: dict[str, str] | None = None
