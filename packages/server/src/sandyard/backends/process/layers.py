"""Trees of files as layers: copied from a sandbox that stands still, put on top of each other, removed.

What lies in them is foreign: no link is followed, nothing but plain files is opened, every name is looked up in a directory that is
held open, and no depth is too deep. Owners go through a function; whiteouts and opaque directories are kept as overlayfs reads them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandyard import trees

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 64 * 1024 * 1024
_BLOCK = 512
_PATH_LIMIT = 3000
_NEVER_LINKED = (errno.EXDEV, errno.EMLINK, errno.EPERM)


@dataclass(slots=True, kw_only=True)
class Merge:
    """How one layer is put onto a tree. `owner` turns an id of the source into one of the target; None: owners are left alone.

    With `link` files are shared with the source, which must never change again, where the file system allows it. With `marks`
    whiteouts and opaque directories are written down (the target is a layer itself), else carried out only.
    """

    owner: Callable[[int], int] | None
    opaque: str
    """The name of the attribute by which overlayfs marks a directory that hides what lies below."""
    link: bool = False
    marks: bool = True
    below: tuple[int, ...] = ()
    """What the layer will lie on, as open directories: a whiteout of what is not there would be seen as a file."""
    _links: dict[int, str] = field(default_factory=dict[int, str])
    _path: list[str] = field(default_factory=list[str])
    _hidden: list[bool] = field(default_factory=lambda: [False])
    """For each directory on the way: whether an opaque one hides what lies below."""
    _root: int = -1

    def run(self, source: int, target: int) -> None:
        """Put the directory open as `source` onto the one open as `target`.

        Raises:
            OSError: it could not be written, or something has changed the source meanwhile.
        """
        self._root = target
        here, there = os.dup(source), os.dup(target)
        pending = [_names(here)]
        above = [(os.fstat(here), os.fstat(there))]
        try:
            while True:
                if pending[-1]:
                    name = pending[-1].pop()
                    if not self._enter(name, here, there):
                        continue
                    self._path.append(name)
                    here = _replace(here, os.open(name, _DIRECTORY, dir_fd=here))
                    there = _replace(there, os.open(name, _DIRECTORY, dir_fd=there))
                    self._hidden.append(self._hidden[-1] or _attribute(there, self.opaque) == b"y")
                    pending.append(_names(here))
                    above.append((os.fstat(here), os.fstat(there)))
                    continue
                self._finish(here, there)
                pending.pop()
                above.pop()
                if not pending:
                    return
                self._path.pop()
                self._hidden.pop()
                here = _replace(here, _parent(here, above[-1][0]))
                there = _replace(there, _parent(there, above[-1][1]))
        finally:
            os.close(here)
            os.close(there)

    def _enter(self, name: str, source: int, target: int) -> bool:
        """Bring one entry over; return whether it is a directory, whose content is still to come."""
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._directory(name, source, target)
            return True
        remove(target, name)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            if self.marks and self._is_below(name):
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=target)
        elif _kept(found.st_mode) and not (self.link and _linked(name, source, target)):
            self._copy(name, source, target, found)
        return False

    def _directory(self, name: str, source: int, target: int) -> None:
        below = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            hides = _attribute(below, self.opaque) == b"y"
        finally:
            os.close(below)
        if hides or not _is_directory(target, name):
            remove(target, name)
            os.mkdir(name, 0o700, dir_fd=target)
        if hides and self.marks:
            made = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                os.setxattr(made, self.opaque, b"y")
            finally:
                os.close(made)

    def _finish(self, source: int, target: int) -> None:
        """Give a directory its owner, attributes, mode and times, now that nothing is written into it any more."""
        found = os.fstat(source)
        if self.owner is not None:
            os.fchown(target, self.owner(found.st_uid), self.owner(found.st_gid))
        _copy_attributes(source, target)
        os.fchmod(target, stat.S_IMODE(found.st_mode))
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _copy(self, name: str, source: int, target: int, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISFIFO(found.st_mode):
            os.mkfifo(name, 0o600, dir_fd=target)
        elif found.st_nlink > 1 and self._linked_again(name, target, found.st_ino):
            return
        else:
            self._copy_file(name, source, target)
        if self.owner is not None:
            os.chown(name, self.owner(found.st_uid), self.owner(found.st_gid), dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _is_below(self, name: str) -> bool:
        path = "/".join([*self._path, name])
        return not self._hidden[-1] and len(path) < _PATH_LIMIT and any(_exists(path, directory) for directory in self.below)

    def _linked_again(self, name: str, target: int, inode: int) -> bool:
        """Whether the file has been copied under another name, and could be linked to that."""
        known = self._links.get(inode)
        if known is None:
            path = "/".join([*self._path, name])
            if len(path) < _PATH_LIMIT:
                self._links[inode] = path
            return False
        try:
            os.link(known, name, src_dir_fd=self._root, dst_dir_fd=target, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _copy_file(self, name: str, source: int, target: int) -> None:
        taken = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        try:
            if not stat.S_ISREG(os.fstat(taken).st_mode):
                raise OSError(errno.ESTALE, "a file has become something else while it was copied", name)
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
            try:
                _copy_data(taken, made)
                _copy_attributes(taken, made)
            finally:
                os.close(made)
        finally:
            os.close(taken)


def size(directory: int) -> int:
    """Return the bytes that the plain files below take. Nobody may be at work there."""
    current = os.dup(directory)
    total = 0
    pending: list[list[str]] = []
    try:
        while True:
            names: list[str] = []
            with os.scandir(current) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * _BLOCK if stat.S_ISREG(found.st_mode) else 0
                    if stat.S_ISDIR(found.st_mode):
                        names.append(entry.name)
            pending.append(names)
            while not pending[-1]:
                pending.pop()
                if not pending:
                    return total
                current = _replace(current, os.open("..", _DIRECTORY, dir_fd=current))
            current = _replace(current, os.open(pending[-1].pop(), _DIRECTORY, dir_fd=current))
    finally:
        os.close(current)


def remove(parent: int | None, name: str) -> None:
    """Remove whatever `name` is, in the directory open as `parent`. No error if it is not there.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        trees.empty(trees.open_directory(name, parent))
        os.rmdir(name, dir_fd=parent)


def _exists(path: str, directory: int) -> bool:
    try:
        os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _names(directory: int) -> list[str]:
    return os.listdir(directory)


def _kept(mode: int) -> bool:
    """Whether such a file is kept: sockets are their listener's, and devices cannot be made in a sandbox."""
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISFIFO(mode)


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new


def _parent(directory: int, expected: os.stat_result) -> int:
    """Return the directory above, which must be the one that we came from."""
    above = os.open("..", _DIRECTORY, dir_fd=directory)
    if not os.path.samestat(os.fstat(above), expected):
        os.close(above)
        raise OSError(errno.ESTALE, "a directory was moved while it was copied")
    return above


def _is_directory(directory: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _linked(name: str, source: int, target: int) -> bool:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NEVER_LINKED:
            raise
        return False
    return True


def _copy_data(source: int, target: int) -> None:
    """Copy what is there and leave holes as they are."""
    size = os.fstat(source).st_size
    place = 0
    while place < size:
        try:
            place = os.lseek(source, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(source, place, os.SEEK_HOLE)
        os.lseek(target, place, os.SEEK_SET)
        while place < end:
            sent = os.sendfile(target, source, place, min(end - place, _CHUNK))
            if sent == 0:
                raise OSError(errno.ESTALE, "a file became shorter while it was copied")
            place += sent
    os.ftruncate(target, size)


def _copy_attributes(source: int, target: int) -> None:
    """Copy people's own attributes, as far as the target's file system takes them; overlayfs's are never theirs."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            if name.startswith("user.") and not name.startswith("user.overlay."):
                os.setxattr(target, name, os.getxattr(source, name))


def _attribute(file: int, name: str) -> bytes:
    try:
        return os.getxattr(file, name)
    except OSError:
        return b""
