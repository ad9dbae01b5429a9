"""What is done with the files of one volume: blocking, for threads. Every path is resolved by `places`; ids are those inside."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.errors import CONFLICT, INVALID_REQUEST, ApiError
from sandyard import trees
from sandyard.domain.volumes import Entry
from sandyard.services.volumes import places
from sandyard.services.volumes.places import Owners

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandyard.domain.volumes import EntryKind
    from sandyard.services.volumes.homes import Place

LISTED = 100_000
"""Entries in one answer."""
_KINDS: dict[int, EntryKind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Whose an entry is to be, and its mode; None: the volume's own user, and what is usual."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


class VolumeFiles:
    """One volume.

    All verbs raise ApiError: `not_found`, `invalid_request`, `conflict`, `forbidden`, `storage_full`.
    """

    def __init__(self, place: Place) -> None:
        self._place = place  # held: what it leads through is open as long as it lives
        self._root = place.root
        self._drafts = place.drafts

    def look(self, path: str) -> Entry:
        """Return what is at `path`; of a link the link."""
        names = places.parts(path)
        with places.told(path), places.opened(self._root) as root:
            if not names:
                return _entry(Owners.of(root), "/", os.fstat(root), None)
            with places.directory(root, names[:-1]) as parent:
                return _look(Owners.of(root), parent, names)

    def list(self, path: str, depth: int) -> Sequence[Entry]:
        """Return what lies in a directory, and in those below it down to `depth` levels, by path."""
        names = places.parts(path)
        found: list[Entry] = []
        with places.told(path), places.opened(self._root) as root:
            owners = Owners.of(root)
            levels = [names]
            for _ in range(depth):
                entries = [entry for level in levels for entry in self._level(root, owners, level, LISTED - len(found), path)]
                found += entries
                levels = [places.parts(entry.path) for entry in entries if entry.kind == "directory"]
        return sorted(found, key=lambda entry: entry.path)

    def make(self, path: str, wanted: Attributes, *, force: bool) -> Entry:
        """Make a directory; `force` also what is missing on the way, and it may be there."""
        names = _named(path)
        with places.told(path), places.opened(self._root) as root:
            owners = Owners.of(root)
            uid, gid = owners.on_disk(wanted.uid), owners.on_disk(wanted.gid)
            with places.directory(root, names[:-1], make=force) as parent:
                try:
                    os.mkdir(names[-1], 0o700, dir_fd=parent)
                except FileExistsError:
                    entry = _look(owners, parent, names)
                    if force and entry.kind == "directory":
                        return entry
                    raise
                fd = os.open(names[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
                try:
                    _give(fd, uid, gid, 0o755 if wanted.mode is None else wanted.mode)
                finally:
                    os.close(fd)
                return _look(owners, parent, names)

    def change(self, path: str, wanted: Attributes) -> Entry:
        """Give an entry another owner or mode; None leaves it. A link has neither."""
        names = places.parts(path)
        with places.told(path), places.opened(self._root) as root, places.directory(root, names[:-1]) as parent:
            owners = Owners.of(root)
            fd = os.open(names[-1] if names else ".", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                _change(owners, fd, wanted, path, is_root=not names)
                return _entry(owners, "/" + "/".join(names), os.fstat(fd), None)
            finally:
                os.close(fd)

    def remove(self, path: str) -> None:
        """Remove a file or a whole directory; it is gone at once for everybody."""
        names = _named(path)
        away = self._drafts / secrets.token_hex(10)
        with places.told(path), places.opened(self._root) as root, places.directory(root, names[:-1]) as parent:
            os.rename(names[-1], away, src_dir_fd=parent)
        if away.is_symlink() or not away.is_dir():
            away.unlink()
        else:
            trees.remove(away)

    def read(self, path: str) -> tuple[int, int]:
        """Return a file, open for reading, and its size."""
        names = _named(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with places.told(path), places.opened(self._root) as root, places.directory(root, names[:-1]) as parent:
            fd = os.open(names[-1], flags, dir_fd=parent)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ApiError(INVALID_REQUEST, f"{path[:500]!r} is no file")
        return fd, status.st_size

    def check(self, path: str, wanted: Attributes, *, force: bool | None) -> None:
        """Refuse at once what `place` would refuse after the whole upload."""
        names = _named(path)
        with places.told(path), places.opened(self._root) as root:
            owners = Owners.of(root)
            for inside in (wanted.uid, wanted.gid):
                owners.on_disk(inside)
            with places.directory(root, names[:-1], make=bool(force)) as parent:
                _refuse_overwriting(parent, names[-1], path, force=force)

    def draft(self) -> tuple[int, Path]:
        """Return a new file that no sandbox sees, open for writing, and where it is."""
        path = self._drafts / secrets.token_hex(10)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def place(self, draft: Path, fd: int, path: str, wanted: Attributes, *, force: bool | None) -> Entry:
        """Let the draft that is open as `fd` be the file at `path`, whole and at once, in place of the one that was there.

        `force`: True makes missing directories, False replaces no file.
        """
        names = _named(path)
        with places.told(path), places.opened(self._root) as root:
            owners = Owners.of(root)
            with places.directory(root, names[:-1], make=bool(force)) as parent:
                _refuse_overwriting(parent, names[-1], path, force=force)
                _give(fd, owners.on_disk(wanted.uid), owners.on_disk(wanted.gid), 0o644 if wanted.mode is None else wanted.mode)
                os.rename(draft, names[-1], dst_dir_fd=parent)
                return _look(owners, parent, names)

    def _level(self, root: int, owners: Owners, names: tuple[str, ...], room: int, path: str) -> Sequence[Entry]:
        with places.readable(root, names) as fd, os.scandir(fd) as entries:
            found: list[Entry] = []
            for each in entries:
                if len(found) >= room:
                    raise ApiError(INVALID_REQUEST, f"{path[:500]!r} holds more than {LISTED} entries; ask for less depth, or for a part")
                try:
                    found.append(_look(owners, fd, (*names, each.name)))
                except FileNotFoundError:
                    continue
            return found


def _named(path: str) -> tuple[str, ...]:
    names = places.parts(path)
    if not names:
        raise ApiError(INVALID_REQUEST, "path: this is the volume itself; name something in it")
    return names


def _refuse_overwriting(parent: int, name: str, path: str, *, force: bool | None) -> None:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if force is False or stat.S_ISDIR(mode):
        raise ApiError(CONFLICT, f"{path[:500]!r} is there already")


def _change(owners: Owners, fd: int, wanted: Attributes, path: str, *, is_root: bool) -> None:
    """A descriptor of `O_PATH` takes no fchmod; its name below /proc leads to exactly what is open."""
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        raise ApiError(INVALID_REQUEST, f"{path[:500]!r} is a link, and links are not followed")
    if is_root and (wanted.uid is not None or wanted.gid is not None):
        raise ApiError(INVALID_REQUEST, "path: the volume itself belongs to its user for good")
    uid = -1 if wanted.uid is None else owners.on_disk(wanted.uid)
    gid = -1 if wanted.gid is None else owners.on_disk(wanted.gid)
    place = f"/proc/self/fd/{fd}"
    if (uid, gid) != (-1, -1):
        os.chown(place, uid, gid)
    if wanted.mode is not None:
        os.chmod(place, wanted.mode)  # noqa: PTH101 (a descriptor's name)


def _give(fd: int, uid: int, gid: int, mode: int) -> None:
    os.fchown(fd, uid, gid)
    os.fchmod(fd, mode)


def _look(owners: Owners, parent: int, names: tuple[str, ...]) -> Entry:
    status = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
    target = os.readlink(names[-1], dir_fd=parent) if stat.S_ISLNK(status.st_mode) else None
    return _entry(owners, "/" + "/".join(names), status, target)


def _entry(owners: Owners, path: str, status: os.stat_result, target: str | None) -> Entry:
    return Entry(
        path=path,
        kind=_KINDS.get(stat.S_IFMT(status.st_mode), "unknown"),
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        uid=owners.inside(status.st_uid),
        gid=owners.inside(status.st_gid),
        accessed_at=status.st_atime,
        modified_at=status.st_mtime,
        changed_at=status.st_ctime,
        target=target,
    )
