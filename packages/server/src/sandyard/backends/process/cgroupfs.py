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


def delegated(unified: Hierarchy, wanted: frozenset[str]) -> tuple[Path | None, frozenset[str]]:
    """Find the group of version 2, our own or one above it, that hands most of `wanted` down to groups made in it.

    Return it (None: there is none that we may use) and those controllers. Only where no other way is, our own group's processes are
    moved into a leaf: a group that holds processes hands nothing down.
    """
    best: Path | None = None
    most: frozenset[str] = frozenset()
    for base in _bases(unified):
        got = enable(base, wanted)
        if best is None or len(got) > len(most):
            best, most = base, got
        if most == wanted:
            return best, most
    if _vacate(unified.own):
        got = enable(unified.own, wanted)
        if len(got) > len(most):
            return unified.own, got
    return best, most


def _bases(unified: Hierarchy) -> Iterator[Path]:
    """Our own group, then those above it that let us make groups and move ourselves into them."""
    base = unified.own
    for _ in range(unified.depth + 1):
        if os.access(base / "cgroup.procs", os.W_OK) and os.access(base, os.W_OK):
            yield base
        base = base.parent


def enable(base: Path, wanted: frozenset[str]) -> frozenset[str]:
    """Have `base` hand down those of `wanted` that it has; return them."""
    control = base / "cgroup.subtree_control"
    for controller in wanted & set(read(base / "cgroup.controllers").split()) - set(read(control).split()):
        with contextlib.suppress(OSError):  # EBUSY: it holds processes itself
            write(control, f"+{controller}")
    return wanted & set(read(control).split())


def _vacate(base: Path) -> bool:
    """Move the processes of `base` into a leaf, if they are ours to move; return whether they were.

    They are where this process is alone, where a user other than root may write (then it was delegated), and in a container, whose
    group looks like the root but, unlike the machine's own, has events.
    """
    pids = set(read(base / "cgroup.procs").split())
    container = "0::/" in read(Path("/proc/self/cgroup")).splitlines() and (base / "cgroup.events").exists()
    if pids != {str(os.getpid())} and not os.geteuid() and not container:
        return False
    leaf = base / _LEAF
    try:
        leaf.mkdir(exist_ok=True)
    except OSError:
        return False
    for pid in pids:
        with contextlib.suppress(OSError):  # it has just ended
            write(leaf / "cgroup.procs", pid)
    return True


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
