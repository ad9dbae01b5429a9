"""What sandboxes are given, as wire messages: volumes and secrets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandkit.wire.secrets import HostSecret, Secret
from sandkit.wire.volumes import VolumeAndToken, VolumeEntry
from sandyard.services.volumes.volumes import GIBIBYTE
from sandyard.web.render import when

if TYPE_CHECKING:
    from sandyard.domain.secrets import SandboxSecret
    from sandyard.domain.volumes import Entry, Volume
    from sandyard.services.volumes.volumes import Volumes


def volume(volumes: Volumes, row: Volume) -> VolumeAndToken:
    size = None if row.size_bytes is None else row.size_bytes / GIBIBYTE
    return VolumeAndToken(volumeID=row.id, name=row.name, token=volumes.token(row.id), quotaSizeGiB=size, quota_inodes=row.inodes)


def entry(found: Entry) -> VolumeEntry:
    return VolumeEntry(
        name=found.path.rpartition("/")[2] or "/",
        type=found.kind,
        path=found.path,
        size=found.size,
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        atime=when(found.accessed_at),
        mtime=when(found.modified_at),
        ctime=when(found.changed_at),
        target=found.target,
    )


def secret(row: SandboxSecret) -> Secret:
    return Secret(
        secretID=row.id,
        name=row.name,
        current_version=row.version,
        metadata=dict(row.metadata),
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
    )


def host_secret(row: SandboxSecret) -> HostSecret:
    return HostSecret(
        name=row.name,
        hosts=list(row.hosts),
        description=row.description,
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
    )
