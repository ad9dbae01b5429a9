"""`/metrics`: what the sandbox uses, as far as it can be seen from inside. The control plane measures from outside."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEBIBYTE = 1024 * 1024


class Metrics:
    """Reads the processes of this namespace. The processor's share is since the last look, at first since the start."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._seen_at = time.monotonic()
        self._seen = 0.0

    def now(self) -> dict[str, Any]:
        """Return envd's fields: memory and disk in bytes, the processor in percent of one."""
        seconds, used = _processes()
        at = time.monotonic()
        share = max(0.0, seconds - self._seen) / max(at - self._seen_at, 0.001) * 100
        self._seen, self._seen_at = seconds, at
        total, cached = _memory()
        disk_used, disk_total = _disk(self._home)
        return {
            "ts": int(time.time()),
            "cpu_count": len(os.sched_getaffinity(0)),
            "cpu_used_pct": round(share, 2),
            "mem_total": total,
            "mem_used": used,
            "mem_cache": cached,
            "mem_total_mib": total // _MEBIBYTE,
            "mem_used_mib": used // _MEBIBYTE,
            "disk_used": disk_used,
            "disk_total": disk_total,
        }


def _processes() -> tuple[float, int]:
    """Return the processor seconds of all that live here and of those whom they have buried, and their memory in bytes."""
    ticks = pages = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib takes 6 ms to import)
        if name.isdigit():
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            sizes = _read(f"/proc/{name}/statm").split()
            if len(fields) > 14 and len(sizes) > 2:
                ticks += sum(map(int, fields[11:15]))
                pages += int(sizes[1]) - int(sizes[2])
    return ticks / _TICKS, pages * _PAGE


def _memory() -> tuple[int, int]:
    """Return the memory that there is, by the control group where it can be seen, and what the file cache takes of it."""
    facts = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    total = int(facts.get("MemTotal", "0 kB").split()[0]) * 1024
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    cached = [line.split()[1] for line in _read("/sys/fs/cgroup/memory.stat").splitlines() if line.startswith("file ")]
    return min(total, int(limit)) if limit.isdigit() else total, int(cached[0]) if cached else 0


def _disk(path: str) -> tuple[int, int]:
    try:
        facts = os.statvfs(path)
    except OSError:
        return 0, 0
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize, facts.f_blocks * facts.f_frsize


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (pathlib takes 6 ms to import)
            return file.read()
    except OSError:
        return ""
