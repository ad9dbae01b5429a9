"""Volumes for callers: who has which, which sandboxes may have them, and the token that admits to what lies in one."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

import anyio.to_thread

from sandkit.wire.errors import CONFLICT, INVALID_REQUEST, NOT_FOUND, UNAUTHENTICATED, ApiError
from sandyard.domain.errors import RowConflict
from sandyard.domain.volumes import Volume, VolumeMount
from sandyard.services.ids import new_id
from sandyard.services.volumes.content import Content
from sandyard.services.volumes.files import VolumeFiles
from sandyard.services.volumes.homes import Homes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.specs import Mount
    from sandyard.services.context import Context

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PATH = re.compile(r"(/[^/\x00-\x1f\x7f]{1,255}){1,32}")
_MOUNTS = 16
GIBIBYTE = 1024**3
_SMALLEST = 16 * 1024**2
_LARGEST = 16 * 1024 * GIBIBYTE
_INODE_BYTES = 4096
_OURS = ("/proc", "/sys", "/dev", "/opt/sandyard", "/opt/venv", "/app")
"""Neither at these nor below."""
_TOO_HIGH = ("/bin", "/etc", "/home", "/home/user", "/lib", "/lib64", "/opt", "/root", "/run", "/sbin", "/tmp", "/usr", "/usr/bin", "/var")  # noqa: S108
"""Not at these: the sandbox would not start, or would miss what it needs."""


class Volumes:
    """Each is a directory below `DATA/volumes`; other owners' volumes do not exist."""

    def __init__(self, context: Context) -> None:
        self._rows = context.store.volumes
        self._clock = context.clock
        self._tokens = context.tokens
        self._homes = Homes(context.settings.data_dir / "volumes")
        self._bound = context.settings.volume_bytes

    async def create(self, owner: str, name: str, *, size_bytes: int | None = None, inodes: int | None = None) -> Volume:
        """Make an empty volume, for so many bytes, files and directories; they are reserved at once.

        Raises:
            ApiError: `invalid_request`, `conflict`, `storage_full`; `not_implemented`: this machine cannot bound what it holds.
        """
        _check_name(name)
        size = self._bound if size_bytes is None else size_bytes
        _check_bounds(size, inodes, self._bound)
        volume = Volume(id=new_id("volume"), owner=owner, name=name, created_at=self._clock.now(), size_bytes=size, inodes=inodes)
        if await self._rows.find(owner, name) is not None:
            raise _taken(name)
        await anyio.to_thread.run_sync(self._homes.make, volume)
        try:
            await self._rows.add(volume)
        except RowConflict:
            await self._clear(volume.id)
            raise _taken(name) from None
        return volume

    async def get(self, owner: str, volume_id: str) -> Volume:
        """Return a volume.

        Raises:
            ApiError: `not_found`.
        """
        volume = await self._rows.get(volume_id)
        if volume is None or volume.owner != owner:
            raise ApiError(NOT_FOUND, f"There is no volume {volume_id[:200]!r}")
        return volume

    async def list(self, owner: str) -> Sequence[Volume]:
        """Return the owner's volumes, oldest first."""
        return await self._rows.list(owner)

    async def rename(self, owner: str, volume_id: str, name: str) -> Volume:
        """Call a volume otherwise.

        Raises:
            ApiError: `not_found`, `invalid_request`, `conflict`.
        """
        _check_name(name)
        volume = await self.get(owner, volume_id)
        try:
            return await self._rows.rename(volume.id, name) or volume
        except RowConflict:
            raise _taken(name) from None

    async def delete(self, owner: str, volume_id: str) -> None:
        """Delete a volume and what lies in it.

        Raises:
            ApiError: `not_found`; `conflict`: a sandbox has it that has not ended.
        """
        volume = await self.get(owner, volume_id)
        if await self._rows.delete(volume.id):
            await self._clear(volume.id)
            return
        users = await self._rows.users(volume.id)
        if users:
            raise ApiError(CONFLICT, f"The volume {volume.name!r} is in use: end its sandboxes first", details={"sandboxes": list(users)})

    async def mounts(self, owner: str, wanted: Sequence[tuple[str, str]]) -> tuple[VolumeMount, ...]:
        """Return what a sandbox is given for pairs of a volume's name (or id) and a path inside.

        Raises:
            ApiError: `invalid_request`: a path cannot be had; `not_found`: there is no such volume.
        """
        _check_paths([path for _, path in wanted])
        return tuple([await self._mount(owner, name, path) for name, path in wanted])

    async def joined(self, owner: str, mounts: Sequence[VolumeMount], name: str, path: str) -> VolumeMount:
        """Return what a sandbox that has `mounts` is given in addition; raises as `mounts`."""
        _check_paths([*(mount.path for mount in mounts), path])
        return await self._mount(owner, name, path)

    def shown(self, mounts: Sequence[VolumeMount]) -> tuple[Mount, ...]:
        """Return the same for the back end."""
        return tuple(self._homes.mount(mount) for mount in mounts)

    def token(self, volume_id: str) -> str:
        """Return what admits to the content of a volume, the same for its whole life."""
        return self._tokens.volume_token(volume_id)

    async def content(self, volume_id: str, token: str) -> Content:
        """Return what lies in a volume, for who has its token.

        Raises:
            ApiError: `unauthenticated`; `not_found`: it was deleted.
        """
        if not hmac.compare_digest(self.token(volume_id).encode(), token.encode()):
            raise ApiError(UNAUTHENTICATED, "The volume's own token is needed, as Authorization: Bearer; Volume.connect() gets it")
        if await self._rows.get(volume_id) is None:
            raise ApiError(NOT_FOUND, f"There is no volume {volume_id!r}")
        return Content(VolumeFiles(await anyio.to_thread.run_sync(self._homes.place, volume_id)))

    async def sweep(self) -> None:
        """Remove what a killed server left; call it before anyone may ask for anything."""
        known = {volume.id for volume in await self._rows.list()}
        await anyio.to_thread.run_sync(self._homes.sweep, known)

    async def _mount(self, owner: str, name: str, path: str) -> VolumeMount:
        volume = await self._rows.get(name)
        if volume is None or volume.owner != owner:
            volume = await self._rows.find(owner, name)
        if volume is None:
            raise ApiError(NOT_FOUND, f"volumeMounts: there is no volume {name[:200]!r}")
        return VolumeMount(volume.id, volume.name, path)

    async def _clear(self, volume_id: str) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._homes.remove, volume_id)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ApiError(INVALID_REQUEST, "name: up to 128 letters, digits and . _ -, a letter or digit first", details={"field": "name"})


def _check_bounds(size: int | None, inodes: int | None, bound: int | None) -> None:
    if size is None and inodes is not None:
        raise ApiError(INVALID_REQUEST, "quotaInodes: only with quotaSizeGiB, whose file system it is counted in")
    if size is not None and (size < _SMALLEST or size > (bound or _LARGEST)):
        largest = f"{(bound or _LARGEST) / GIBIBYTE:g}"
        raise ApiError(INVALID_REQUEST, f"quotaSizeGiB: from {_SMALLEST / GIBIBYTE:g} to {largest}", details={"field": "quotaSizeGiB"})
    if size is not None and inodes is not None and not 1 <= inodes <= size // _INODE_BYTES:
        most = size // _INODE_BYTES
        raise ApiError(INVALID_REQUEST, f"quotaInodes: from 1 to {most} in a volume of that size", details={"field": "quotaInodes"})


def _check_paths(paths: Sequence[str]) -> None:
    for path in paths:
        names = path.split("/")
        ours = path in _TOO_HIGH or any(path == place or path.startswith(f"{place}/") for place in _OURS)
        if not _PATH.fullmatch(path) or {".", ".."} & set(names) or ours:
            raise _bad_mount(f"nothing can be mounted at {path[:200]!r}")
        if sum(path == other or other.startswith(f"{path}/") for other in paths) > 1:
            raise _bad_mount(f"{path[:200]!r} holds another mount")
    if len(paths) > _MOUNTS:
        raise _bad_mount(f"at most {_MOUNTS}")


def _bad_mount(sentence: str) -> ApiError:
    return ApiError(INVALID_REQUEST, f"volumeMounts: {sentence}", details={"field": "volumeMounts"})


def _taken(name: str) -> ApiError:
    return ApiError(CONFLICT, f"There is a volume {name!r} already; connect to it, or choose another name")
