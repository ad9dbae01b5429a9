"""What a platform leaves on a machine: processes, mounts, control groups, and what they hold while it runs."""

from __future__ import annotations

import json
from pathlib import Path

from examples.demo.traces import Known, command_line, control_groups, family, living, mounts, processes

__all__ = [
    "Known",
    "agent",
    "children",
    "command_line",
    "control_groups",
    "descriptors",
    "family",
    "guest",
    "keeper",
    "living",
    "memory",
    "mounts",
    "processes",
    "sandbox_dirs",
]


def children(pid: int) -> list[int]:
    return [child for child, (parent, _) in processes() if parent == pid]


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
