"""What a platform leaves on a machine: processes, mounts, control groups, and what they hold while it runs."""

from __future__ import annotations

import json
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


def children(pid: int) -> list[int]:
    return [child for child, (parent, _) in processes() if parent == pid]


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


def sandbox_dirs(data_dir: Path) -> set[str]:
    """Return the ids of the sandboxes that have a directory on the host."""
    return {entry.name for entry in (data_dir / "sandboxes").iterdir()}


def guest(data_dir: Path, sandbox_id: str) -> int:
    """Return the host pid of the first process of a sandbox."""
    return int(json.loads((data_dir / "sandboxes" / sandbox_id / "record.json").read_text())["first"])


def agent(data_dir: Path, sandbox_id: str) -> int:
    """Return the host pid of the agent, the guest's child."""
    (pid,) = children(guest(data_dir, sandbox_id))
    return pid


def keeper(data_dir: Path) -> int:
    """Return the pid of the keeper; what it has just forked bears its command line, too."""
    table = dict(processes())
    named = {pid for pid in table if all(word in command_line(pid) for word in (str(data_dir), "sandyard.backends.process"))}
    (pid,) = [pid for pid in named if table[pid][0] not in named]
    return pid


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> int:
    """Return what a process holds in memory now, in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
