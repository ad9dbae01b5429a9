"""Control groups, version 1, 2 or both at once: what bounds, freezes and kills a sandbox where the host lets us.

Each controller is taken where it is: in the version-1 hierarchy that has it, else in version 2. Freezing prefers version 2
(`cgroup.freeze`): a process killed while it is frozen dies there, under version 1 only when it is thawed.
One parent group per data directory (`sandyard-<scope>`) holds a group per sandbox. Stdlib only, for one thread: the keeper's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from .cgroupfs import Hierarchy, delegated, enable, field, hierarchies, read, retry, wait_event, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandyard.domain.specs import Limits

_WORDS = {"memory": "memory", "cpu": "cpu", "pids": "processes"}  # a controller, and what `Isolation.limits` calls it
_PERIOD = 100_000  # microseconds; the kernel's default


class Cgroups:
    """The groups of one data directory. `enforced` and `can_freeze` say what really works; `explain` why the rest does not."""

    def __init__(self, scope: str, found: list[Hierarchy]) -> None:
        self.scope = scope
        self._name = f"sandyard-{scope}"
        self._parents: dict[str, Path] = {}  # controller → our parent group that has it
        unified = next((h for h in found if h.version == 2), None)
        for hierarchy in found:
            for controller in sorted(hierarchy.controllers & _WORDS.keys()):
                self._adopt_v1(controller, hierarchy.own / self._name)
        if unified is not None:
            self._adopt_v2(unified)
        freezer = next((h for h in found if "freezer" in h.controllers), None)
        if freezer is not None and "unified" not in self._parents:
            self._adopt_v1("freezer", freezer.own / self._name)

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

    def create(self, name: str, limits: Limits) -> Group:
        """Make a group with its limits, still without a process.

        Raises:
            OSError: a group or a limit was refused; nothing is left of it.
        """
        group = self.adopt(name)
        try:
            group.make()
            group.limit(limits)
        except OSError:
            group.remove()
            raise
        return group

    def adopt(self, name: str) -> Group:
        """Return a group that exists already. Makes nothing."""
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"not the name of a group: {name!r}")
        return Group({controller: parent / name for controller, parent in self._parents.items()})

    def names(self) -> set[str]:
        """Return the names of all groups that exist, also those that a keeper left behind when it died."""
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
        base, got = delegated(unified, wanted)
        if base is None:
            return
        parent = base / self._name
        with contextlib.suppress(OSError):
            parent.mkdir(exist_ok=True)
            got = enable(parent, got)
            self._parents.update(dict.fromkeys(got, parent))
            if (parent / "cgroup.freeze").exists():
                self._parents["unified"] = parent

    def explain(self, otherwise: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return sentences for people on what does not work here. `otherwise`: the limits that something else holds."""
        return tuple(self._sentences(otherwise))

    def _sentences(self, otherwise: tuple[str, ...]) -> Iterator[str]:
        missing = [word for word in _WORDS.values() if word not in (*self.enforced, *otherwise)]
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
            write(self._at["pids"] / "pids.max", str(limits.processes))
        if "cpu" in self._at:
            directory = self._at["cpu"]
            if (directory / "cpu.max").exists():
                write(directory / "cpu.max", f"{quota} {_PERIOD}")
            else:
                write(directory / "cpu.cfs_period_us", str(_PERIOD))
                write(directory / "cpu.cfs_quota_us", str(quota))

    @staticmethod
    def _limit_memory(directory: Path, limit: int) -> None:
        if (directory / "memory.max").exists():
            write(directory / "memory.max", str(limit))
            swap, value = directory / "memory.swap.max", "0"
        else:
            write(directory / "memory.limit_in_bytes", str(limit))
            swap, value = directory / "memory.memsw.limit_in_bytes", str(limit)
        with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting has no such file
            write(swap, value)

    @property
    def frozen(self) -> bool:
        """Whether the kernel has stopped every process of the group."""
        if "unified" in self._at:
            return field(self._at["unified"] / "cgroup.events", "frozen") == 1
        if "freezer" in self._at:
            return read(self._at["freezer"] / "freezer.state").strip() == "FROZEN"
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
            return wait_event(self._at["unified"], "frozen", int(frozen), timeout)
        return retry(lambda: self.frozen is frozen, timeout)

    def _order_frozen(self, frozen: bool) -> None:
        if "unified" in self._at:
            write(self._at["unified"] / "cgroup.freeze", str(int(frozen)))
        elif "freezer" in self._at:
            write(self._at["freezer"] / "freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            raise OSError(errno.EOPNOTSUPP, "no control group can freeze this sandbox")

    def kill(self, timeout: float = 2.0) -> bool:
        """Kill every process of the group, frozen or not; return whether all have died within `timeout` seconds."""
        unified = self._at.get("unified")
        if unified is not None and (unified / "cgroup.kill").exists():
            with contextlib.suppress(OSError):
                write(unified / "cgroup.kill", "1")
        else:
            self._signal_all()
        if self.can_freeze:
            with contextlib.suppress(OSError):  # what is frozen under version 1 dies only now
                self._order_frozen(False)
        return retry(self._died, timeout)

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
        return {int(pid) for path in self.enter_paths for pid in read(path).split() if pid != "0"}

    def remove(self, timeout: float = 1.0) -> bool:
        """Remove the directories; processes that are just dying get `timeout` seconds. Return whether nothing is left."""
        unified = self._at.get("unified")
        if unified is not None:
            wait_event(unified, "populated", 0, timeout)
        return retry(self._removed, timeout)

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
        return field(directory / "memory.events", "oom_kill") or field(directory / "memory.oom_control", "oom_kill") or 0

    def memory_bytes(self) -> int | None:
        """Return the memory that is charged to the group, or None where nothing counts it."""
        if "memory" not in self._at:
            return None
        directory = self._at["memory"]
        value = read(directory / "memory.current") or read(directory / "memory.usage_in_bytes")
        return int(value) if value else None

    def memory_cache_bytes(self) -> int:
        """Return how much of that memory holds files, tmpfs included."""
        if "memory" not in self._at:
            return 0
        file = self._at["memory"] / "memory.stat"
        return field(file, "file") or field(file, "total_cache") or field(file, "cache") or 0

    def cpu_seconds(self) -> float | None:
        """Return the processor time of all its processes since the group was made, or None where nothing counts it."""
        if "unified" in self._at:  # counted there without the controller
            used = field(self._at["unified"] / "cpu.stat", "usage_usec")
            return None if used is None else used / 1e6
        text = read(self._at["cpu"] / "cpuacct.usage") if "cpu" in self._at else ""
        return int(text) / 1e9 if text.strip().isdigit() else None
