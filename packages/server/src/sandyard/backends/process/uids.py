"""Host uids for sandboxes, far above what machines give to people and to subordinate ranges.

A sandbox gets one uid, which is `user` inside, or a range of them, which are 0 and all others inside.
"""

from __future__ import annotations

import os
import secrets
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = 1_900_000_000
BLOCK = 1024
BLOCKS = 8192

RANGE = 65536
STORED = BASE - RANGE
"""Where the owners of files in writable mounts lie on disk: that of the id n inside is `STORED + n`, never one of the host's."""
RANGES = 34_000
RANGES_BASE = 30_518 * RANGE
_ATTEMPTS = 64


class Uids:
    """Hands out the uids of one block; each is given to one living sandbox at a time, and not again soon."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._next = 0
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return a free uid.

        Raises:
            OSError: all are taken.
        """
        for step in range(BLOCK):
            uid = self._first + (self._next + step) % BLOCK
            if uid not in self._taken:
                self._next = uid - self._first + 1
                self._taken.add(uid)
                return uid
        raise OSError(f"all {BLOCK} user ids for sandboxes are taken")

    def adopt(self, uid: int) -> None:
        """Count a uid as taken by a sandbox that an earlier keeper started."""
        self._taken.add(uid)

    def free(self, uid: int) -> None:
        self._taken.discard(uid)


class Ranges:
    """Hands out first uids of ranges, by chance: with so many of them no two data directories need to agree."""

    def __init__(self) -> None:
        self._held = list(_subordinate())
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return the first uid of a free range.

        Raises:
            OSError: none was found.
        """
        for _ in range(_ATTEMPTS):
            first = RANGES_BASE + secrets.randbelow(RANGES) * RANGE
            if first not in self._taken and not any(start < first + RANGE and first < end for start, end in self._held):
                self._taken.add(first)
                return first
        raise OSError("no range of user ids is free for a sandbox: see /etc/subuid and /etc/subgid")

    def adopt(self, first: int) -> None:
        """Count a range as taken by a sandbox that an earlier keeper started."""
        self._taken.add(first)

    def free(self, first: int) -> None:
        self._taken.discard(first)


def number(data_dir: Path) -> int:
    """Return a number that tells the data directory from others of this machine."""
    return zlib.crc32(os.fsencode(data_dir.resolve()))


def block(data_dir: Path, own: set[int]) -> int:
    """Return the first uid of the data directory's block: always the same, unless something else on the machine holds it.

    `own` are the uids of sandboxes that an earlier keeper started.
    """
    held = [*_subordinate(), *((uid, uid + 1) for uid in _running() - own)]
    wanted = number(data_dir) % BLOCKS
    for step in range(BLOCKS):
        first = BASE + (wanted + step) % BLOCKS * BLOCK
        if not any(start < first + BLOCK and first < end for start, end in held):
            return first
    raise OSError("no block of user ids is free for sandboxes: see /etc/subuid and /etc/subgid")


def _subordinate() -> Iterator[tuple[int, int]]:
    """Yield the ranges that are given to users, as [start, end)."""
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            _, _, numbers = line.partition(":")
            start, _, count = numbers.partition(":")
            if start.isdigit() and count.isdigit():
                yield int(start), int(start) + int(count)


def _running() -> set[int]:
    """Return the uids of running processes."""
    found: set[int] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(FileNotFoundError):
                found.add(entry.stat().st_uid)
    return found
