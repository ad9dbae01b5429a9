"""What a build left on the disk, looked at without following a link: foreign code has written there. Blocking: use a thread."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def size(directory: Path) -> int:
    """Return the bytes that the files below `directory` take on the disk."""
    total = 0
    for _, _, files, fd in os.fwalk(directory, onerror=None, follow_symlinks=False):
        for name in files:
            try:
                total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def installed(venv: Path) -> tuple[str, ...]:
    """Return what is installed in a virtual environment as `name==version`, sorted, read off the names of its metadata."""
    names = _listed(venv, "lib", f"python3.{sys.version_info.minor}", "site-packages")
    stems = [name.removesuffix(".dist-info").rpartition("-") for name in names if name.endswith(".dist-info")]
    return tuple(sorted(f"{project.replace('_', '-')}=={version}" for project, _, version in stems))


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
