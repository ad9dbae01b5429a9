"""Trees of files: removing what foreign code wrote (thousands deep, closed to its owner, full of links), and keeping what is ours."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(directory: Path) -> None:
    """Remove a tree in which nobody works any more. What cannot be removed stays; no link is followed.

    Blocking: use a thread. `shutil.rmtree` would recurse (until Python 3.13), and hold a descriptor for every level.
    """
    with suppress(OSError):
        empty(open_directory(str(directory), None))
        directory.rmdir()


def settle(directory: Path) -> None:
    """Have all that was written to the file system of `directory` survive a power cut. Blocking: use a thread.

    One call for the whole file system, others' writes too: thousands of small files, each synced alone, would take minutes.

    Raises:
        OSError: the disk did not take it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(fd)


def settle_entries(directory: Path) -> None:
    """Have the names in `directory` survive a power cut, as after a rename. Blocking."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def empty(current: int) -> None:
    """Empty the directory that is open as `current`, level by level, and close it."""
    try:
        pending = [_unlink_files(current)]
        while True:
            if pending[-1]:
                below = open_directory(pending[-1][-1], current)
                pending.append(_unlink_files(below))
            else:
                pending.pop()
                if not pending:
                    return
                below = os.open("..", _DIRECTORY, dir_fd=current)
                os.rmdir(pending[-1].pop(), dir_fd=below)
            os.close(current)
            current = below
    finally:
        os.close(current)


def open_directory(name: str, parent: int | None) -> int:
    """Return a descriptor of the directory `name` in the one open as `parent` (None: `name` is a path), also if it is closed to us."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:  # closed to us, its owner
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)


def _unlink_files(directory: int) -> list[str]:
    """Remove all but directories, and return their names."""
    os.fchmod(directory, 0o700)
    names: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return names
