"""What a sandbox uses: by its control group where that counts, else from the /proc of its processes; its files by their tmpfs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .staging import SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cgroups import Group
    from .records import Record

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_USER_TIME, _CHILDREN_SYSTEM_TIME = 11, 14  # of /proc/PID/stat, counted from the state


def usage(record: Record, group: Group | None) -> dict[str, Any]:
    """Return the fields of `domain.specs.Usage`.

    Raises:
        ProcessLookupError: the sandbox has ended.
    """
    cpu = group.cpu_seconds() if group is not None else None
    memory = group.memory_bytes() if group is not None else None
    pids = list(_pids(record)) if cpu is None or memory is None else []
    used, size = _disk(record)
    return {
        "cpu_seconds": sum(map(_cpu_seconds, pids)) if cpu is None else cpu,
        "cpu_count": record.limits["cpus"],
        "memory_bytes": sum(map(_resident, pids)) + used if memory is None else memory,
        "memory_cache_bytes": used if memory is None or group is None else group.memory_cache_bytes(),
        "memory_limit_bytes": record.limits["memory_bytes"],
        "disk_bytes": used,
        "disk_limit_bytes": size,
    }


def _pids(record: Record) -> Iterator[Path]:
    """Yield the /proc directories of the sandbox's processes: its own /proc lists them, and it cannot change that."""
    if record.first is None:
        raise ProcessLookupError(record.sandbox_id)
    if record.bare:
        yield from _descendants(record.first)
        return
    try:
        entries = list(os.scandir(f"/proc/{record.first}/root/proc"))
    except FileNotFoundError as error:
        raise ProcessLookupError(record.sandbox_id) from error
    yield from (Path(entry.path) for entry in entries if entry.name.isdigit())


def _descendants(pid: int) -> Iterator[Path]:
    pending = [pid]
    while pending:
        process = Path(f"/proc/{pending.pop()}")
        yield process
        with contextlib.suppress(OSError):
            for task in (process / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())


def _cpu_seconds(process: Path) -> float:
    """Return its time and that of the children that it has buried."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[_USER_TIME : _CHILDREN_SYSTEM_TIME + 1])) / _TICKS


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _disk(record: Record) -> tuple[int, int]:
    """Return how much of its tmpfs is used, and its size; without isolation there is none."""
    if record.bare:
        return 0, record.limits["disk_bytes"]
    try:
        found = os.statvfs(f"/proc/{record.outer}/root{SPACE}")
    except FileNotFoundError as error:
        raise ProcessLookupError(record.sandbox_id) from error
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize
