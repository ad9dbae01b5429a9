"""Control groups, version 1, 2 or both at once: what bounds, freezes and kills a sandbox where the host lets us.

Each controller is taken where it is: in the version-1 hierarchy that has it, else in version 2. Freezing prefers version 2
(`cgroup.freeze`): a process killed while it is frozen dies there, under version 1 only when it is thawed.
One parent group per data directory (`sandyard-<scope>`) holds a group per sandbox. Stdlib only, for one thread: the keeper's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandyard.domain.specs import Limits

_WORDS = {"memory": "memory", "cpu": "cpu", "pids": "processes"}  # a controller, and what `Isolation.limits` calls it
_PERIOD = 100_000  # microseconds; the kernel's default
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


class Cgroups:
    """The groups of one data directory. `enforced` and `can_freeze` say what really works; `notes` why the rest does not."""

    def __init__(self, scope: str, found: list[Hierarchy]) -> None:
        self.scope = scope
        self._name = f"sandyard-{scope}"
        self._parents: dict[str, Path] = {}  # controller → our parent group that has it
        self.notes: tuple[str, ...] = ()
        unified = next((h for h in found if h.version == 2), None)
        for hierarchy in found:
            for controller in sorted(hierarchy.controllers & _WORDS.keys()):
                self._adopt_v1(controller, hierarchy.own / self._name)
        if unified is not None:
            self._adopt_v2(unified)
        freezer = next((h for h in found if "freezer" in h.controllers), None)
        if freezer is not None and "unified" not in self._parents:
            self._adopt_v1("freezer", freezer.own / self._name)
        self.notes = tuple(self._explain())

    @classmethod
    def discover(cls, scope: str) -> Cgroups:
        """Find what this process may use, and make the parent groups. Never raises: what fails is not `enforced`.

        `scope` (letters, digits, `-`, `_`) keeps the data directories of one machine apart.
        """
        try:
            found = hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
        except (OSError, ValueError):
            found = []  # no /proc, or no cgroups in this kernel
        return cls(scope, found)

    @property
    def enforced(self) -> tuple[str, ...]:
        """The limits that a group enforces, in the words of `Isolation.limits`."""
        return tuple(word for controller, word in _WORDS.items() if controller in self._parents)

    @property
    def can_freeze(self) -> bool:
        return "unified" in self._parents or "freezer" in self._parents

    def create(self, sandbox_id: str, limits: Limits) -> Group:
        """Make the group of a sandbox with its limits, still without a process.

        Raises:
            OSError: a group or a limit was refused; nothing is left of it.
        """
        group = self.adopt(sandbox_id)
        try:
            group.make()
            group.limit(limits)
        except OSError:
            group.remove()
            raise
        return group

    def adopt(self, sandbox_id: str) -> Group:
        """Return the group of a sandbox that lives already. Makes nothing."""
        if not sandbox_id or "/" in sandbox_id or sandbox_id.startswith("."):
            raise ValueError(f"not a sandbox id: {sandbox_id!r}")
        return Group({controller: parent / sandbox_id for controller, parent in self._parents.items()})

    def sandbox_ids(self) -> set[str]:
        """Return the ids of all groups that exist, also those that a keeper left behind when it died."""
        parents = set(self._parents.values())
        return {entry.name for parent in parents if parent.is_dir() for entry in parent.iterdir() if entry.is_dir()}

    def remove_scope(self) -> None:
        """Remove the parent groups, as far as they are empty."""
        for parent in set(self._parents.values()):
            with contextlib.suppress(OSError):
                parent.rmdir()

    def _adopt_v1(self, controller: str, parent: Path) -> None:
        with contextlib.suppress(OSError):
            parent.mkdir(exist_ok=True)
            self._parents[controller] = parent

    def _adopt_v2(self, unified: Hierarchy) -> None:
        """Take the group, our own or one above it, that gives the most of the controllers still missing."""
        wanted = frozenset(_WORDS.keys() - self._parents.keys())
        best: tuple[Path, frozenset[str]] | None = None
        for base in _bases(unified):
            got = _delegate(base, wanted, own=base == unified.own)
            if best is None or len(got) > len(best[1]):
                best = base / self._name, got
            if got == wanted:
                break
        if best is None:
            return
        parent, got = best
        with contextlib.suppress(OSError):
            parent.mkdir(exist_ok=True)
            got = _enable(parent, got)
            self._parents.update(dict.fromkeys(got, parent))
            if (parent / "cgroup.freeze").exists():
                self._parents["unified"] = parent

    def _explain(self) -> Iterator[str]:
        missing = [word for controller, word in _WORDS.items() if controller not in self._parents]
        if missing:
            user = "an ordinary user needs a delegated control group for that"
            yield f"Not limited: {', '.join(missing)} ({user if os.geteuid() else 'the host lets us make no control group for that'})."
        if not self.can_freeze:
            yield "A pause stops processes by signals: the host delegates no control group that could freeze them."


class Group:
    """The control groups of one sandbox, one directory per hierarchy in use."""

    def __init__(self, directories: dict[str, Path]) -> None:
        self._at = directories
        self._all = tuple(dict.fromkeys(directories.values()))

    @property
    def enter_paths(self) -> tuple[Path, ...]:
        """The files into which a process writes `0` to enter the group; from then on its children are born in it."""
        return tuple(directory / "cgroup.procs" for directory in self._all)

    def make(self) -> None:
        """Make the directories; those that exist are used."""
        for directory in self._all:
            directory.mkdir(exist_ok=True)

    def limit(self, limits: Limits) -> None:
        """Set or change the limits. Memory counts swap in: a sandbox has none."""
        quota = max(1000, int(limits.cpus * _PERIOD))
        if "memory" in self._at:
            self._limit_memory(self._at["memory"], limits.memory_bytes)
        if "pids" in self._at:
            (self._at["pids"] / "pids.max").write_text(str(limits.processes))
        if "cpu" in self._at:
            directory = self._at["cpu"]
            if (directory / "cpu.max").exists():
                (directory / "cpu.max").write_text(f"{quota} {_PERIOD}")
            else:
                (directory / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (directory / "cpu.cfs_quota_us").write_text(str(quota))

    @staticmethod
    def _limit_memory(directory: Path, limit: int) -> None:
        if (directory / "memory.max").exists():
            (directory / "memory.max").write_text(str(limit))
            swap, value = directory / "memory.swap.max", "0"
        else:
            (directory / "memory.limit_in_bytes").write_text(str(limit))
            swap, value = directory / "memory.memsw.limit_in_bytes", str(limit)
        with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting has no such file
            _write_existing(swap, value)

    @property
    def frozen(self) -> bool:
        """Whether the kernel has stopped every process of the group."""
        if "unified" in self._at:
            return _field(self._at["unified"] / "cgroup.events", "frozen") == 1
        if "freezer" in self._at:
            return _read(self._at["freezer"] / "freezer.state").strip() == "FROZEN"
        return False

    def freeze(self, timeout: float = 5.0) -> None:
        """Stop every process; return when the kernel confirms it.

        Raises:
            TimeoutError: not confirmed within `timeout` seconds; the group is thawed again.
            OSError: the group is gone.
        """
        if not self._set_frozen(True, timeout):
            self.thaw()
            raise TimeoutError(f"the control group was not frozen within {timeout:g} s")

    def thaw(self, timeout: float = 5.0) -> None:
        """Let every process go on; return when the kernel confirms it.

        Raises:
            TimeoutError: not confirmed within `timeout` seconds.
            OSError: the group is gone.
        """
        if not self._set_frozen(False, timeout):
            raise TimeoutError(f"the control group was not thawed within {timeout:g} s")

    def _set_frozen(self, frozen: bool, timeout: float) -> bool:
        self._order_frozen(frozen)
        if "unified" in self._at:
            return _wait_event(self._at["unified"], "frozen", int(frozen), timeout)
        return _retry(lambda: self.frozen is frozen, timeout)

    def _order_frozen(self, frozen: bool) -> None:
        if "unified" in self._at:
            _write_existing(self._at["unified"] / "cgroup.freeze", str(int(frozen)))
        elif "freezer" in self._at:
            _write_existing(self._at["freezer"] / "freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            raise OSError(errno.EOPNOTSUPP, "no control group can freeze this sandbox")

    def kill(self, timeout: float = 2.0) -> bool:
        """Kill every process of the group, frozen or not; return whether all have died within `timeout` seconds."""
        unified = self._at.get("unified")
        if unified is not None and (unified / "cgroup.kill").exists():
            with contextlib.suppress(OSError):
                _write_existing(unified / "cgroup.kill", "1")
        else:
            self._signal_all()
        if self.can_freeze:
            with contextlib.suppress(OSError):  # what is frozen under version 1 dies only now
                self._order_frozen(False)
        return _retry(self._died, timeout)

    @property
    def can_freeze(self) -> bool:
        return "unified" in self._at or "freezer" in self._at

    def _died(self) -> bool:
        self._signal_all()
        return not self.pids()

    def _signal_all(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def pids(self) -> set[int]:
        """Return the process ids, as this process sees them, that are in any of the group's directories."""
        return {int(pid) for path in self.enter_paths for pid in _read(path).split() if pid != "0"}

    def remove(self, timeout: float = 1.0) -> bool:
        """Remove the directories; processes that are just dying get `timeout` seconds. Return whether nothing is left."""
        unified = self._at.get("unified")
        if unified is not None:
            _wait_event(unified, "populated", 0, timeout)
        return _retry(self._removed, timeout)

    def _removed(self) -> bool:
        for directory in self._all:
            with contextlib.suppress(OSError):  # EBUSY, or gone already
                directory.rmdir()
        return not any(directory.exists() for directory in self._all)

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed because the group had reached its memory limit."""
        if "memory" not in self._at:
            return 0
        directory = self._at["memory"]
        return _field(directory / "memory.events", "oom_kill") or _field(directory / "memory.oom_control", "oom_kill") or 0

    def memory_bytes(self) -> int | None:
        """Return the memory that is charged to the group, or None where nothing counts it."""
        if "memory" not in self._at:
            return None
        directory = self._at["memory"]
        value = _read(directory / "memory.current") or _read(directory / "memory.usage_in_bytes")
        return int(value) if value else None


def _bases(unified: Hierarchy) -> Iterator[Path]:
    """Our own group, then those above it that let us make groups and move ourselves into them."""
    base = unified.own
    for _ in range(unified.depth + 1):
        if os.access(base / "cgroup.procs", os.W_OK) and os.access(base, os.W_OK):
            yield base
        base = base.parent


def _delegate(base: Path, wanted: frozenset[str], *, own: bool) -> frozenset[str]:
    """Have `base` hand down those of the `wanted` controllers that it has; return them."""
    offered = wanted & set(_read(base / "cgroup.controllers").split())
    got = _enable(base, offered)
    if got != offered and own:
        _vacate(base)
        got = _enable(base, offered)
    return got


def _enable(base: Path, wanted: frozenset[str]) -> frozenset[str]:
    control = base / "cgroup.subtree_control"
    for controller in wanted - set(_read(control).split()):
        with contextlib.suppress(OSError):  # EBUSY: it holds processes itself
            _write_existing(control, f"+{controller}")
    return wanted & set(_read(control).split())


def _vacate(base: Path) -> None:
    """Move the processes of `base` into a leaf, because a group with processes hands no controller down.

    Only where they are ours to move: this process alone, or everything in a container (its root is `/`).
    """
    pids = set(_read(base / "cgroup.procs").split())
    container = any(line == "0::/" for line in _read(Path("/proc/self/cgroup")).splitlines())
    if pids != {str(os.getpid())} and not container:
        return
    with contextlib.suppress(OSError):
        leaf = base / _LEAF
        leaf.mkdir(exist_ok=True)
        for pid in pids:
            with contextlib.suppress(OSError):  # it has just ended, or is the kernel's
                _write_existing(leaf / "cgroup.procs", pid)


def _write_existing(path: Path, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _read(path: Path) -> str:
    """Return the file's text; nothing if there is no such file or group (ENODEV: it was removed while open)."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _field(path: Path, name: str) -> int | None:
    """Return a number of a flat-keyed file."""
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _wait_event(directory: Path, name: str, value: int, timeout: float) -> bool:
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


def _retry(done: Callable[[], bool], timeout: float) -> bool:
    """Ask again with growing pauses: version 1, and the death of processes, tell nobody."""
    deadline, pause = time.monotonic() + timeout, 0.0002
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True
