"""Where volumes lie: each is a directory below one home or, where what it holds is bounded, a disk (`sandyard.disks`) in its place.

A disk that is looked into stays mounted for a while, seen by nobody else; all who work in it hold it open. Blocking: for threads.
"""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sandkit.wire.errors import NOT_IMPLEMENTED, STORAGE_FULL, UNAVAILABLE, ApiError
from sandyard import disks, trees
from sandyard.domain.specs import Mount
from sandyard.domain.volumes import STORED_IDS, USER_ID

if TYPE_CHECKING:
    from sandyard.domain.volumes import Volume, VolumeMount

_DRAFTS = ".drafts"
_KEPT = 1024**3
"""Bytes that no reservation takes from the rest of the platform."""
_WARM = 16
"""So many disks stay mounted."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NEVER = (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of one volume: what sandboxes see, and one on the same file system that they do not see.

    Of a disk they go through `held`, a descriptor that lives as long as the place.
    """

    root: Path
    drafts: Path
    held: _Held | None = field(default=None, compare=False)


class _Held:
    """A mount's descriptor, closed when nobody has the object any more."""

    def __init__(self, fd: int) -> None:
        self.path = Path(f"/proc/self/fd/{fd}")
        weakref.finalize(self, os.close, fd)


class Homes:
    """The home of all volumes."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._warm: OrderedDict[str, Place] = OrderedDict()
        self._swept: set[str] = set()
        self._lock = Lock()

    def make(self, volume: Volume) -> None:
        """Make an empty volume.

        Raises:
            ApiError: `storage_full`: there is no room to reserve; `not_implemented`: this machine cannot bound it.
        """
        drafts = self._home / _DRAFTS
        drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.chmod(0o700)
        if volume.size_bytes is None:
            _directory(self._home / volume.id)
            return
        if shutil.disk_usage(drafts).free < volume.size_bytes + _KEPT:
            raise _no_room()
        away = drafts / volume.id
        try:
            disks.make(away, volume.size_bytes, volume.inodes)
            place = _place(away)
            place.drafts.mkdir(mode=0o700)
            _directory(place.root)
            away.rename(self._home / volume.id)
        except OSError as error:
            raise _refusal(error) from None
        finally:
            away.unlink(missing_ok=True)

    def place(self, volume_id: str) -> Place:
        """Return where a volume is.

        Raises:
            ApiError: `unavailable`: its disk cannot be mounted now.
        """
        path = self._home / volume_id
        if not path.is_file():
            return Place(path, self._home / _DRAFTS)
        with self._lock:
            try:
                place = self._warm.pop(volume_id, None) or self._opened(volume_id, path)
            except OSError as error:
                raise ApiError(UNAVAILABLE, f"The volume cannot be opened now: {error}") from error
            self._warm[volume_id] = place
            if len(self._warm) > _WARM:
                self._warm.popitem(last=False)
            return place

    def _opened(self, volume_id: str, path: Path) -> Place:
        """Mount a disk; what a killed server left of uploads goes when this one opens it first, before anyone can write."""
        place = _place(path)
        if volume_id not in self._swept:
            trees.empty(trees.open_directory(str(place.drafts), None))
            self._swept.add(volume_id)
        return place

    def mount(self, given: VolumeMount) -> Mount:
        """Return what a back end shows in a sandbox."""
        path = self._home / given.volume_id
        return Mount(path, given.path, "rw", shared=True, disk=path.is_file())

    def remove(self, volume_id: str) -> None:
        """Remove a volume with all that lies in it; it is gone at once."""
        with self._lock:
            self._warm.pop(volume_id, None)
        away = self._home / _DRAFTS / volume_id
        (self._home / volume_id).rename(away)
        _remove(away)

    def sweep(self, known: set[str]) -> None:
        """Remove what is none of the `known` volumes, and every draft."""
        if not self._home.is_dir():
            return
        for entry in self._home.iterdir():
            if entry.name not in known:
                _remove(entry)
        (self._home / _DRAFTS).mkdir(mode=0o700, exist_ok=True)


def _place(disk: Path) -> Place:
    held = _Held(disks.mount(disk))
    return Place(held.path / disks.CONTENT, held.path / disks.DRAFTS, held)


def _directory(path: Path) -> None:
    path.mkdir(mode=0o755)
    with suppress(OSError):  # the server may not give files away: they stay its own, and are shown as the user's
        os.chown(path, STORED_IDS + USER_ID, STORED_IDS + USER_ID)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        trees.remove(path)
    else:
        path.unlink(missing_ok=True)


def _no_room() -> ApiError:
    return ApiError(STORAGE_FULL, "The platform's disk has no room to reserve for such a volume; ask for less")


def _refusal(error: OSError) -> ApiError:
    if error.errno in _NO_ROOM:
        return _no_room()
    if error.errno in _NEVER:
        return ApiError(NOT_IMPLEMENTED, f"Volumes with a quota are file systems of their own, which this machine does not mount: {error}")
    return ApiError(UNAVAILABLE, f"The volume's file system could not be made: {error}")
