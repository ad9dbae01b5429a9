"""Templates, their immutable builds and movable tags."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DEFAULT_TAG = "latest"
"""The tag of an agent that was deployed without one."""
STEPS_TAG = "default"
"""The tag of a template that an E2B client built without one."""
BUILTIN_OWNER = "_sandyard"
"""Whose the built-in templates are: nobody's who has a key."""


class BuildState(StrEnum):
    """The words of the manifest's `status.phase` (seed 001 §3.4)."""

    PENDING = "pending"
    BUILDING = "building"
    DEPLOYED = "deployed"
    FAILED = "failed"


class BuildKind(StrEnum):
    """How a build comes about: an agent's package, an E2B client's steps, steps of our own, a sandbox that was saved."""

    AGENT = "agent"
    STEPS = "steps"
    BUILTIN = "builtin"
    SNAPSHOT = "snapshot"


StepType = Literal["COPY", "RUN", "ENV", "WORKDIR", "USER"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a recipe, as E2B's clients send it: `args` of COPY are source, destination, owner and mode (may be empty);
    of RUN the command and the user; of ENV names and values in turn. `files_hash` names what COPY copies from.
    """

    type: StepType
    args: tuple[str, ...]
    files_hash: str = ""
    force: bool = False

    def __str__(self) -> str:
        return f"{self.type} {' '.join(arg for arg in self.args if arg)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a build by steps starts from and does. `from_build` is the id of another build; nothing means the host's system.

    `force` builds all of it anew; `login` says that its registry wants one (kept in memory alone, `services.logins`).
    Of a snapshot: `from_sandbox` is what was saved, `from_build` the build whose package it runs if that was an agent's.
    """

    from_image: str = ""
    from_build: str = ""
    from_sandbox: str = ""
    steps: tuple[Step, ...] = ()
    start_cmd: str = ""
    ready_cmd: str = ""
    force: bool = False
    login: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """How a sandbox of a build that is no agent starts.

    `image` is the digest of the image whose root it has (nothing: the host's system); `saved` whether the build's directory
    holds a file system state. `env`, `user` and `workdir` are the defaults of its commands. `start_cmd` runs at each start,
    which is over when `ready_cmd` succeeds. `cpu_count` and `memory_mb` (MiB) are wishes, cut to the operator's limits.
    """

    image: str = ""
    saved: bool = False
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = "user"
    workdir: str = ""
    start_cmd: str = ""
    ready_cmd: str = ""
    cpu_count: int | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A row. `name` is unique per owner; times are Unix seconds. A `public` one may be used by every owner."""

    id: str
    owner: str
    name: str
    created_at: float
    updated_at: float
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A row; after `deployed` it never changes. `manifest` is the parsed agent.yaml, `package` the blob's key: an agent's.
    All others have a `recipe` (from the moment that somebody orders the build) and a `system`.
    """

    id: str
    template_id: str
    state: BuildState
    manifest: Mapping[str, Any]
    package: str
    tags: tuple[str, ...] = ()
    """Tags that will point here once the build is deployed."""
    reason: str = ""
    created_at: float
    finished_at: float | None = None
    size_bytes: int | None = None
    dependencies: tuple[str, ...] = field(default=())
    kind: BuildKind = BuildKind.AGENT
    recipe: Recipe | None = None
    system: System = field(default_factory=System)
    failed_step: str = ""
    """Where a failed build by steps failed: the number of the step, counted from 1, or `base` or `finalize`."""

    @property
    def drafted(self) -> bool:
        """Whether it waits to be ordered: its client still uploads files."""
        return self.kind is BuildKind.STEPS and self.recipe is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A movable name of a build; `created_at` is when it came to point there."""

    tag: str
    build_id: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a build's log; `number` counts from 0 within the build."""

    number: int
    timestamp: float
    message: str
    level: str = "info"
