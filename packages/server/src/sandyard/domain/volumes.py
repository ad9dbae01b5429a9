"""Volumes: directories that outlive sandboxes, and where sandboxes have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STORED_IDS = 1_899_934_464
"""On disk the owner n of a volume's file is `STORED_IDS + n`, where the server may change owners (`backends.process.uids.STORED`)."""
IDS = 65536
"""How many owners there are."""
USER_ID = 1000
"""`user`, to whom belongs what nobody gave to another."""

EntryKind = Literal["file", "directory", "symlink", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A row. `name` is unique among its owner's; times are Unix seconds. It holds up to `size_bytes` and `inodes` files and
    directories, reserved when it is made; without a size what the disk holds.
    """

    id: str
    owner: str
    name: str
    created_at: float
    size_bytes: int | None = None
    inodes: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume in a sandbox: which, what it was called then, and the absolute path inside."""

    volume_id: str
    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What lies in a volume. `path` begins with a slash, which is the volume itself; times are Unix seconds; ids are those inside."""

    path: str
    kind: EntryKind
    size: int
    mode: int
    uid: int
    gid: int
    accessed_at: float
    modified_at: float
    changed_at: float
    target: str | None = None
    """Where a link leads to; it may be nowhere, and nothing here follows it."""
