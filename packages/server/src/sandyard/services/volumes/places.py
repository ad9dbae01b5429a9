"""Where in a volume a path leads: name by name through directories that are held open, following no link, leaving by no `..`."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.errors import CONFLICT, FORBIDDEN, INVALID_REQUEST, NOT_FOUND, STORAGE_FULL, ApiError
from sandyard.domain.volumes import IDS, STORED_IDS, USER_ID

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_LONGEST = 4096
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FAULTS = {
    errno.ENOENT: (NOT_FOUND, "is not there"),
    errno.ENOTDIR: (INVALID_REQUEST, "leads through something that is no directory (links are not followed)"),
    errno.EISDIR: (INVALID_REQUEST, "is a directory"),
    errno.ELOOP: (INVALID_REQUEST, "is a link, and links are not followed"),
    errno.ENXIO: (INVALID_REQUEST, "is no file"),
    errno.ENAMETOOLONG: (INVALID_REQUEST, "has a name that is too long"),
    errno.EEXIST: (CONFLICT, "is there already"),
    errno.ENOTEMPTY: (CONFLICT, "is a directory with something in it"),
    errno.EACCES: (FORBIDDEN, "is closed to the server by its mode"),
    errno.EPERM: (FORBIDDEN, "cannot be changed by the server"),
    errno.ENOSPC: (STORAGE_FULL, "cannot be written: the volume is full, or the platform's disk is"),
    errno.EDQUOT: (STORAGE_FULL, "cannot be written: the platform's disk quota is used up"),
}


@contextmanager
def told(path: str) -> Generator[None]:
    """Let the kernel's refusals be ours, about the caller's path."""
    try:
        yield
    except OSError as error:
        problem, sentence = _FAULTS.get(error.errno or 0, (None, ""))
        if problem is None:
            raise
        raise ApiError(problem, f"{path[:500]!r} {sentence}") from None


def parts(path: str) -> tuple[str, ...]:
    """Return the names that a path consists of; none is the volume itself.

    Raises:
        ApiError: `invalid_request`: it is too long, or has a `..` or a NUL.
    """
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if len(path) > _LONGEST or "\0" in path or ".." in names:
        raise ApiError(INVALID_REQUEST, f"path: {path[:100]!r} is no path in a volume: no '..', no NUL, at most {_LONGEST} characters")
    return names


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose files are, inside and on disk. `stored`: the server can give each its own, see `domain.volumes.STORED_IDS`."""

    uid: int
    stored: bool

    @classmethod
    def of(cls, root: int) -> Owners:
        """Return those of the volume whose directory is open."""
        uid = os.fstat(root).st_uid
        return cls(uid, STORED_IDS <= uid < STORED_IDS + IDS)

    def on_disk(self, inside: int | None) -> int:
        """Return the id on disk of one inside; None is the volume's own.

        Raises:
            ApiError: `invalid_request`: every file belongs to one user here.
        """
        if inside is None or (not self.stored and inside == USER_ID):
            return self.uid
        if not self.stored:
            raise ApiError(
                INVALID_REQUEST, f"All files of a volume belong to {USER_ID} here: the server is not root and cannot give them away"
            )
        return STORED_IDS + inside

    def inside(self, on_disk: int) -> int:
        """Return the id inside of one on disk."""
        if self.stored:
            return on_disk - STORED_IDS if STORED_IDS <= on_disk < STORED_IDS + IDS else IDS - 2
        return USER_ID if on_disk == self.uid else IDS - 2


@contextmanager
def opened(volume: Path) -> Generator[int]:
    """Yield the volume's directory, open."""
    fd = os.open(volume, _WALK)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def directory(root: int, names: tuple[str, ...], *, make: bool = False) -> Generator[int]:
    """Yield the directory that `names` lead to, open; `make` makes what is missing on the way.

    Raises:
        OSError: there is no such directory.
    """
    current = os.dup(root)
    try:
        for name in names:
            below = _below(current, name, root if make else None)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


@contextmanager
def readable(root: int, names: tuple[str, ...]) -> Generator[int]:
    """Yield the directory that `names` lead to, open for its entries."""
    with directory(root, names) as place:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        try:
            yield fd
        finally:
            os.close(fd)


def _below(parent: int, name: str, root: int | None) -> int:
    try:
        return os.open(name, _WALK, dir_fd=parent)
    except FileNotFoundError:
        if root is None:
            raise
    os.mkdir(name, 0o755, dir_fd=parent)
    uid = Owners.of(root).uid
    os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)
    return os.open(name, _WALK, dir_fd=parent)
