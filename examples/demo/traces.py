"""What a platform leaves on a machine: processes, mounts, control groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Known = frozenset[tuple[int, str]]
"""Processes, each with its start time: a number alone may be given again."""


def family(data_dir: Path) -> Known:
    """Return the processes that name the data directory, and everything that descends from them."""
    table = dict(processes())
    found = {pid for pid in table if str(data_dir) in command_line(pid)} - {os.getpid()}
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        if not more:
            return frozenset((pid, table[pid][1]) for pid in found)
        found |= more


def living(known: Known) -> list[str]:
    """Return the command lines of those that still live."""
    now = {(pid, started) for pid, (_, started) in processes()}
    return [f"{pid} {command_line(pid)[:120]}" for pid, started in known if (pid, started) in now]


def processes() -> Iterator[tuple[int, tuple[int, str]]]:
    """Yield (pid, (parent, start time)) of every process that is not a zombie."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(entry.name), (int(fields[1]), fields[19])


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def mounts(data_dir: Path) -> list[str]:
    """Return the mounts of this machine that have to do with the data directory."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data_dir) in line]


def control_groups(sandbox_ids: Iterable[str]) -> list[str]:
    """Return the control groups of these sandboxes."""
    wanted = set(sandbox_ids)
    return [str(Path(where, name)) for where, names, _ in os.walk("/sys/fs/cgroup") for name in names if name in wanted]
