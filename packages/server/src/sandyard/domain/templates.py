"""Templates, their immutable builds and movable tags."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DEFAULT_TAG = "latest"


class BuildState(StrEnum):
    """The words of the manifest's `status.phase` (seed 001 §3.4)."""

    PENDING = "pending"
    BUILDING = "building"
    DEPLOYED = "deployed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A row. `name` is unique per owner; times are Unix seconds."""

    id: str
    owner: str
    name: str
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A row; after `deployed` it never changes. `manifest` is the parsed agent.yaml, `package` the blob's key."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a build's log; `number` counts from 0 within the build."""

    number: int
    timestamp: float
    message: str
    level: str = "info"
