"""What a build left on the disk, looked at without following a link: foreign code has written there. Blocking: use a thread."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

from sandyard.domain.specs import MEBIBYTE

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY_BYTES = 4096
"""What a file or a directory is counted as at least: names and inodes are a part of the disk, too."""
_DEEPEST = 80
"""Levels: each one holds a descriptor of the server's while it is looked at."""
_DISTRIBUTION = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._+!]+)\.dist-info")
_MOST_DISTRIBUTIONS = 2000
_RESERVE = 1024 * MEBIBYTE


class TooDeep(Exception):  # noqa: N818 (read as a sentence)
    """Directories are nested deeper than any real package's."""


def size(directory: Path, most: int = sys.maxsize) -> int:
    """Return the bytes that what lies below `directory` takes on the disk; counting ends where it exceeds `most`.

    Raises:
        TooDeep: directories are nested too deep to be looked at.
    """
    total, base = 0, len(directory.parts)
    for top, directories, files, fd in os.fwalk(directory, onerror=None, follow_symlinks=False):
        if top.count("/") - base > _DEEPEST:
            raise TooDeep(f"more than {_DEEPEST} levels")
        total += len(directories) * _ENTRY_BYTES
        for name in files:
            try:
                total += max(_ENTRY_BYTES, os.stat(name, dir_fd=fd, follow_symlinks=False).st_blocks * 512)
            except FileNotFoundError:
                continue
        if total > most:
            break
    return total


def is_nearly_full(directory: Path) -> bool:
    """Tell whether the file system below `directory` has less left than what the platform itself needs."""
    usage = shutil.disk_usage(directory)
    return usage.free < min(_RESERVE, usage.total // 20)


def installed(venv: Path) -> tuple[str, ...]:
    """Return what is installed in a virtual environment as `name==version`, sorted, read off the names of its metadata."""
    names = _listed(venv, "lib", f"python3.{sys.version_info.minor}", "site-packages")
    found = [match for match in map(_DISTRIBUTION.fullmatch, names) if match is not None]
    return tuple(sorted(f"{match[1].replace('_', '-')}=={match[2]}" for match in found)[:_MOST_DISTRIBUTIONS])


def _listed(root: Path, *parts: str) -> list[str]:
    fd = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.listdir(fd)  # noqa: PTH208 (by descriptor: no path to be led astray)
    except OSError:
        return []
    finally:
        os.close(fd)
