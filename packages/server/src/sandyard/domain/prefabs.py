"""Prefabs: a published, versioned pack of functions, described by its manifest (`prefab-manifest.json`, schema version 1.0)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFAB_ID = re.compile(r"(?=.{3,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
ALIAS = re.compile(r"latest|[\^~]?(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){0,2}")
"""What a caller may write for a version: an exact one, `latest`, `1`, `1.2`, `^1`, `^1.2.3`, `~1.2`."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
SECRET_NAME = re.compile(r"[A-Z0-9_]{1,64}")

Visibility = Literal["private", "public"]


class PrefabState(StrEnum):
    """The one state word of a version. `deployed` ones can be called; `yanked` ones by their exact version only."""

    PENDING = "pending"
    BUILDING = "building"
    DEPLOYED = "deployed"
    YANKED = "yanked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a function; `schema` is JSON Schema 2020-12 of its value."""

    name: str
    description: str
    required: bool
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSlot:
    """One key of a function's `files`: how many inputs it takes (`most` None: no bound), or that it is an output's key."""

    key: str
    description: str
    output: bool
    required: bool
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretNeed:
    """A secret that a function reads from its environment; `instructions` tell people where to get one."""

    name: str
    description: str = ""
    instructions: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One callable of a prefab. `returns` is JSON Schema 2020-12 of what it returns."""

    name: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    files: tuple[FileSlot, ...] = ()
    secrets: tuple[SecretNeed, ...] = ()
    streaming: bool = False
    returns: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A checked manifest. `memory_bytes` is what one call may have beside what the import took; `prefabs` are the ids that its
    functions may call in turn.
    """

    id: str
    version: str
    name: str
    description: str
    functions: tuple[Function, ...]
    tags: tuple[str, ...] = ()
    author: str = ""
    entry_point: str = "src/main.py"
    cpus: float = 0.5
    memory_bytes: int = 256 * 1024 * 1024
    prefabs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def function(self, name: str) -> Function | None:
        """Return the function of that name; what the manifest does not name cannot be called."""
        return next((function for function in self.functions if function.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefab:
    """A row: whose id it is. Ids are one name space for the whole platform; a private one is seen by its owner only."""

    id: str
    owner: str
    visibility: Visibility
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefabVersion:
    """A row; after `deployed` nothing but its state changes.

    `build_id` names its directory, `digest` (SHA-256 over names and contents of the package's files) pins what was published,
    `manifest` is the document as published. Times are Unix seconds.
    """

    id: str
    prefab_id: str
    version: str
    state: PrefabState
    digest: str
    manifest: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    reason: str = ""
    """Why it failed, for its publisher."""
    log: str = ""
    """The last lines of its build."""
    created_at: float
    finished_at: float | None = None
