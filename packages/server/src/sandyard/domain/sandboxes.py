"""What a sandbox is: one state word, the table of its changes, the record of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.volumes import VolumeMount


class SandboxState(StrEnum):
    """The one state word. `stopped` and `failed` are final; `Sandbox.reason` says why."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in (SandboxState.STOPPED, SandboxState.FAILED)


TRANSITIONS: Mapping[SandboxState, frozenset[SandboxState]] = {
    SandboxState.STARTING: frozenset({SandboxState.RUNNING, SandboxState.STOPPED, SandboxState.FAILED}),
    SandboxState.RUNNING: frozenset({SandboxState.PAUSED, SandboxState.STOPPED, SandboxState.FAILED}),
    SandboxState.PAUSED: frozenset({SandboxState.RUNNING, SandboxState.STOPPED, SandboxState.FAILED}),
    SandboxState.STOPPED: frozenset(),
    SandboxState.FAILED: frozenset(),
}

OnTimeout = Literal["kill", "pause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The isolation that a sandbox has achieved: reported as it is, never as it was wished (`session.sandbox`, console, doctor).

    `user` is "own" (a host uid of its own), "shared" (the uid of whoever runs the server) or "none"; `limits` names the limits
    that a cgroup enforces, out of "memory", "cpu", "processes"; `freeze` is "cgroup", "signals" or "tasks"; `root` whether there
    is a user 0 inside (one without power outside); `notes` are sentences for people: what is weaker than it could be, and why.
    """

    backend: str
    user: Literal["own", "shared", "none"]
    namespaces: tuple[str, ...] = ()
    seccomp: bool = False
    limits: tuple[str, ...] = ()
    disk_limit: bool = False
    freeze: Literal["cgroup", "signals", "tasks"] = "signals"
    root: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What its owner says about a sandbox's ways: out of it (`EgressPolicy` has the entries) and in (`catalog.Route`)."""

    internet: bool | None = None
    """None: nothing was said, which means yes."""
    allow_out: tuple[str, ...] = ()
    deny_out: tuple[str, ...] = ()
    mask_request_host: str = ""
    https_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A row. Times are Unix seconds. The tokens are not here: they are derived from the id (`services.tokens`).

    `timeout` is what it lives in seconds when it is resumed by itself. `restore` names the saved state (`services.states`) that it
    starts from; while it is `paused`, `saved` says that it has no processes and this state is all there is of it (nothing: its
    template's). `origin` names the saved state that a reset takes it back to. `sealed_env` are the owner's variables
    (`services.variables`), kept for starting it again and forgotten when it ends. `memory_mb` (MiB) and `cpu_count` are wishes, cut to
    the operator's limits; None: as its template says.
    """

    id: str
    owner: str
    template_id: str
    build_id: str
    state: SandboxState
    reason: str = ""
    created_at: float
    ends_at: float
    on_timeout: OnTimeout = "kill"
    public: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    isolation: Isolation | None = None
    exit_code: int | None = None
    output: str = ""
    """The last lines that the agent printed, kept when it failed."""
    idempotency_key: str | None = None
    timeout: float = 300.0
    auto_resume: bool = False
    keep_memory: bool = True
    """Whether the pause at the end of its time keeps its processes."""
    network: Network = field(default_factory=Network)
    sealed_env: str = field(default="", repr=False)
    volumes: tuple[VolumeMount, ...] = ()
    restore: str = ""
    saved: bool = False
    origin: str = ""
    memory_mb: int | None = None
    cpu_count: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxEvent:
    """Something that happened to a sandbox, as it is told. `id` is unique; `type` is a word of E2B's ("created", "paused", …)."""

    id: str
    sandbox_id: str
    owner: str
    template_id: str
    build_id: str
    type: str
    at: float
    data: Mapping[str, str] = field(default_factory=dict[str, str])
