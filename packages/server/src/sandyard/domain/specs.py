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
    (changes count against the disk limit, travel with `Snapshots.save`, and vanish with the sandbox).

    Several sandboxes may have one "rw" directory at once: each sees its files under its own ids. What lies in it belongs to `user`
    when the first of them starts, and to the server again when the last has ended. With `shared` (a volume) the files keep their
    owners in between; whoever else writes into it gives new files the owner of the directory itself. With `disk` the source is a
    file that `disks.make` made, and what it holds is bounded: shown is the directory `disks.CONTENT` in it.
    """

    source: Path
    target: str
    mode: Literal["ro", "rw", "overlay"] = "ro"
    shared: bool = False
    disk: bool = False


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

    `deny` beats `allow`; `allow` beats the built-in refusal of private addresses; `public` admits every public name: that is the
    operator's part. The sandbox's owner can only narrow it: what stands in `owner_deny` is refused unless it stands in
    `owner_allow` (E2B's order). A network that ends in `/0` means every destination.
    """

    public: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    owner_allow: tuple[str, ...] = ()
    owner_deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """Everything that `Backend.start` needs; a back end looks nothing up.

    `env` may hold secrets: it travels by descriptor, never in an argument vector. With `ready_port` the start returns when
    something listens there (agents); with None it returns at once and the sandbox ends with its command (builds).
    With an empty `command` the guest lives until it is stopped; the start returns when `GUEST_PORT` accepts, and `ready_port` is not
    looked at.
    `ready_timeout` is in seconds. `ends_at` (Unix seconds) is when whoever outlives the server ends the sandbox.

    `system` "fixed" shows the system read-only; "writable" copy-on-write, up to `limits.disk_bytes`, with an in-sandbox root where
    the host can map one (`Isolation.root`). `root` is an extracted image to show as the system, in place of the host's own: its files
    belong to the image's ids, or all to the server's user. `restore` is a directory that `Snapshots.save` filled, of a sandbox with
    the same `system`, `root` and mount targets: the new one starts with its files, copy-on-write. Neither may be changed or removed
    while a sandbox that was started with it lives.

    `user` is as whom the command runs, by the names of the sandbox's own /etc/passwd; where there is no root inside, `user` is the
    only one, and another ends the start. Without isolation it is not looked at.
    """

    sandbox_id: str
    command: tuple[str, ...]
    system: Literal["fixed", "writable"] = "fixed"
    root: Path | None = None
    restore: Path | None = None
    user: str = "user"
    cwd: str = "/home/user"
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What `Snapshots.save` wrote: how large the files are, and whether the processes' memory is among them (no back end does that yet)."""

    size_bytes: int
    memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a sandbox has used and may use, at one moment. `cpu_seconds` since it started; `memory_cache_bytes` is the part of
    `memory_bytes` that holds files, the sandbox's own writable ones included.
    """

    cpu_seconds: float
    cpu_count: float
    memory_bytes: int
    memory_cache_bytes: int
    memory_limit_bytes: int
    disk_bytes: int
    disk_limit_bytes: int
