"""What a back end is asked to start, what it found, and how a sandbox ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandyard.domain.sandboxes import Isolation

GUEST_PORT = 49983
AGENT_PORT = 8080
PROXY_PORT = 3128

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory inside the sandbox at `target`: "ro" read-only, "rw" writable, "overlay" writable copy-on-write
    (changes count against the disk limit and vanish with the sandbox).
    """

    source: Path
    target: str
    mode: Literal["ro", "rw", "overlay"] = "ro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds of one sandbox. `disk_bytes` bounds everything that it can write, together: home, /tmp, overlays."""

    memory_bytes: int = 1024 * MEBIBYTE
    cpus: float = 1.0
    processes: int = 512
    disk_bytes: int = 512 * MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Which names a sandbox may reach. An entry is `host`, `host:port`, `*.domain[:port]`, an address or a network in CIDR form.

    `deny` beats `allow`; `allow` beats the built-in refusal of private addresses; `public` admits every public name.
    """

    public: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """Everything that `Backend.start` needs; a back end looks nothing up.

    `env` may hold secrets: it travels by descriptor, never in an argument vector. With `ready_port` the start returns when
    something listens there (agents); with None it returns at once and the sandbox ends with its command (builds).
    `ready_timeout` is in seconds. `ends_at` (Unix seconds) is when whoever outlives the server ends the sandbox.
    """

    sandbox_id: str
    command: tuple[str, ...]
    cwd: str = "/home/user"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    mounts: tuple[Mount, ...] = ()
    limits: Limits = field(default_factory=Limits)
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    ready_port: int | None = AGENT_PORT
    ready_timeout: float = 60.0
    ends_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The answer to a successful start: the isolation that was achieved."""

    sandbox_id: str
    isolation: Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A living sandbox that the back end holds; `frozen` as the kernel says."""

    sandbox_id: str
    frozen: bool
    isolation: Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """How a sandbox ended by itself or was ended by its keeper.

    `exit_code` is the command's (None where unknown), `signal` the signal that killed it, `reason` a sentence for people
    ("The agent exited with code 1", "The sandbox ran out of its 256 MiB of memory"), `output` the last lines it printed.
    """

    sandbox_id: str
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    output: str = ""
