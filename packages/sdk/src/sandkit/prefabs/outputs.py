"""The files that a function left in `data/outputs`: only plain files of its own, within bounds, and no link is followed."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEPTH = 16
_WARNINGS = 20
DEFAULT_KEY = "output"


class TooMuchError(Exception):
    """More files, or more bytes, than a call may leave; the message says which."""


class Found:
    """One file: the key that it is returned under, its path below `data/outputs`, its size when it was found."""

    def __init__(self, key: str, path: str, size: int) -> None:
        self.key = key
        self.path = path
        self.size = size


def scan(root: str, keys: Collection[str], *, most_files: int, most_bytes: int) -> tuple[list[Found], list[str]]:
    """Return the files below `root`, by path, and a sentence for each thing that is none and is left out.

    A file below a directory named as one of `keys` is returned under that key, all others under `output`.

    Raises:
        TooMuchError: there are more than `most_files`, or they hold more than `most_bytes`.
    """
    found: list[Found] = []
    warnings: list[str] = []
    total = 0
    for path, status in _walk(root, "", warnings, 0):
        total += status.st_size
        if len(found) == most_files:
            raise TooMuchError(f"The function left more than {most_files} files")
        if total > most_bytes:
            raise TooMuchError(f"The function left more than {most_bytes} bytes in files")
        first = path.partition("/")[0] if "/" in path else ""
        found.append(Found(first if first in keys else DEFAULT_KEY, path, status.st_size))
    found.sort(key=lambda file: file.path)
    return found, warnings[:_WARNINGS]


def read(root: str, path: str, size: int, chunk_size: int) -> Iterator[bytes]:
    """Yield at most `size` bytes of a file that `scan` found.

    Raises:
        OSError: it is no plain file any more.
    """
    fd = os.open(f"{root}/{path}", _FLAGS)
    try:
        if not _is_plain(os.fstat(fd)):
            raise OSError(f"{path} is no plain file any more")
        while size > 0 and (data := os.read(fd, min(size, chunk_size))):
            size -= len(data)
            yield data
    finally:
        os.close(fd)


def _is_plain(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _walk(root: str, below: str, warnings: list[str], depth: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(f"{root}/{below}" if below else root) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and depth < _DEPTH:
                yield from _walk(root, path, warnings, depth + 1)
            elif _is_plain(status) and _is_printable(path):
                yield path, status
            elif len(warnings) < _WARNINGS:
                warnings.append(f"{ascii(path)[:200]} was left out: it is {_kind(status)}")


def _is_printable(path: str) -> bool:
    """Whether the name can be shown and stored: valid UTF-8, no control characters."""
    return path.isprintable() and "\\" not in path and not any("\udc80" <= character <= "\udcff" for character in path)


def _kind(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if stat.S_ISDIR(status.st_mode):
        return "nested too deep"
    if stat.S_ISREG(status.st_mode):
        return "a hard link" if status.st_nlink != 1 else "named in a way that cannot be shown"
    return "neither a file nor a directory"
