"""Where control groups are and how their files are read and written; what the groups are for stands in `cgroups`. Stdlib only."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAF = "sandyard-self"


class Hierarchy(NamedTuple):
    """A mounted cgroup file system: our own group in it, how many parents of that are in sight, and its controllers."""

    version: int
    own: Path
    depth: int
    controllers: frozenset[str]


def hierarchies(mountinfo: str, memberships: str) -> list[Hierarchy]:
    """Read /proc/self/mountinfo and /proc/self/cgroup. Controllers of version 2 are not in them: they stay empty."""
    paths: dict[str, str] = {}
    for line in memberships.splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, point, *_ = before.split(" ")
        kind, _, options = after.split(" ", 2)
        names = frozenset(options.split(",")) & paths.keys()
        if kind == "cgroup2" and "" in paths:
            found.append(_hierarchy(2, root, point, paths[""], frozenset()))
        elif kind == "cgroup" and names:
            found.append(_hierarchy(1, root, point, paths[next(iter(names))], names))
    return found


def _hierarchy(version: int, root: str, point: str, path: str, controllers: frozenset[str]) -> Hierarchy:
    """Locate our group `path` below a mount of the group `root`; where it is not below (namespaces), the mount stands for it."""
    relative = os.path.relpath(path, root)
    if ".." in path or relative.startswith(".."):
        relative = "."
    return Hierarchy(version, Path(point.replace("\\040", " "), relative), len(Path(relative).parts), controllers)


def bases(unified: Hierarchy) -> Iterator[Path]:
    """Our own group, then those above it that let us make groups and move ourselves into them."""
    base = unified.own
    for _ in range(unified.depth + 1):
        if os.access(base / "cgroup.procs", os.W_OK) and os.access(base, os.W_OK):
            yield base
        base = base.parent


def delegate(base: Path, wanted: frozenset[str], *, own: bool) -> frozenset[str]:
    """Have `base` hand down those of the `wanted` controllers that it has; return them."""
    offered = wanted & set(read(base / "cgroup.controllers").split())
    got = enable(base, offered)
    if got != offered and own:
        _vacate(base)
        got = enable(base, offered)
    return got


def enable(base: Path, wanted: frozenset[str]) -> frozenset[str]:
    control = base / "cgroup.subtree_control"
    for controller in wanted - set(read(control).split()):
        with contextlib.suppress(OSError):  # EBUSY: it holds processes itself
            write(control, f"+{controller}")
    return wanted & set(read(control).split())


def _vacate(base: Path) -> None:
    """Move the processes of `base` into a leaf, because a group with processes hands no controller down.

    Only where they are ours to move: this process alone, or everything in a container (its root is `/`).
    """
    pids = set(read(base / "cgroup.procs").split())
    container = any(line == "0::/" for line in read(Path("/proc/self/cgroup")).splitlines())
    if pids != {str(os.getpid())} and not container:
        return
    with contextlib.suppress(OSError):
        leaf = base / _LEAF
        leaf.mkdir(exist_ok=True)
        for pid in pids:
            with contextlib.suppress(OSError):  # it has just ended, or is the kernel's
                write(leaf / "cgroup.procs", pid)


def write(path: Path, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def read(path: Path) -> str:
    """Return the file's text; nothing if there is no such file or group (ENODEV: it was removed while open)."""
    try:
        return path.read_text()
    except OSError:
        return ""


def field(path: Path, name: str) -> int | None:
    """Return a number of a flat-keyed file."""
    for line in read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def wait_event(directory: Path, name: str, value: int, timeout: float) -> bool:
    """Wait until `cgroup.events` says so; the kernel signals each change of that file as a priority event."""
    deadline = time.monotonic() + timeout
    with contextlib.suppress(OSError), (directory / "cgroup.events").open() as file:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        while True:
            file.seek(0)
            if f"{name} {value}" in file.read().splitlines():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    return False


def retry(done: Callable[[], bool], timeout: float) -> bool:
    """Ask again with growing pauses: version 1, and the death of processes, tell nobody."""
    deadline, pause = time.monotonic() + timeout, 0.0002
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True
