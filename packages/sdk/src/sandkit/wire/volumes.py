"""Volumes on the wire: E2B's names (sandbox-protocol §1.3), and what lies in them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (pydantic resolves annotations at run time)
from typing import Annotated, Literal

from pydantic import Field

from sandkit.wire.base import Message

Id = Annotated[int, Field(ge=0, le=65535)]
Mode = Annotated[int, Field(ge=0, le=0o1777)]
"""Permission bits and the sticky bit."""


Quota = Annotated[float, Field(gt=0, le=1024 * 1024, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=2**40)]


class NewVolume(Message):
    """`POST /volumes`. Quotas say what it may hold; nothing said: what the platform's operator lets it."""

    name: str = Field(max_length=200)
    quota_size_gib: Quota | None = Field(None, alias="quotaSizeGiB")
    quota_inodes: Count | None = None


class ChangeVolume(Message):
    """`PATCH /volumes/{id}`; what is left out stays."""

    name: str | None = Field(None, max_length=200)
    quota_size_gib: Quota | None = Field(None, alias="quotaSizeGiB")
    quota_inodes: Count | None = None


class Volume(Message):
    """One of `GET /volumes`."""

    volume_id: str = Field(alias="volumeID")
    name: str


class VolumeAndToken(Volume):
    """One volume with the token that admits to what lies in it, and its quotas where it has any."""

    token: str
    quota_size_gib: float | None = Field(None, alias="quotaSizeGiB")
    quota_inodes: int | None = None


class MountedVolume(Message):
    """A volume in a sandbox: its name (or id) and the absolute path inside."""

    name: str = Field(min_length=1, max_length=200)
    path: str = Field(min_length=1, max_length=4096)


class VolumeEntry(Message):
    """What lies in a volume. `path` begins with a slash, which is the volume; `uid` and `gid` are those inside sandboxes."""

    name: str
    type: Literal["file", "directory", "symlink", "unknown"]
    path: str
    size: int
    mode: int
    uid: int
    gid: int
    atime: datetime
    mtime: datetime
    ctime: datetime
    target: str | None = None


class ChangeEntry(Message):
    """`PATCH /volumecontent/{id}/path`; what is left out stays."""

    uid: Id | None = None
    gid: Id | None = None
    mode: Mode | None = None
