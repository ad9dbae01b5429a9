"""The stage: everything that a sandbox will see, mounted below one cover in a mount namespace of the launcher's own.

Whatever way a launch ends, nothing is left to unmount. Sources are opened before the cover lies over them and before the uid is
dropped, so that an interpreter, checkout or data directory below a home directory of mode 0700 can be shown.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ownership, syscalls

if TYPE_CHECKING:
    from collections.abc import Mapping

STAGE = "/tmp"  # noqa: S108 (covered; bubblewrap resolves its sources through the same mount)
SPACE = f"{STAGE}/space"
_INODE_BYTES = 8192
_COPIED = "Writable mounts are copies: the kernel refused an overlay"


class _Stage:
    """One launch's stage. `mapped` is a user namespace that shows the keeper's files as the sandbox's, or None."""

    def __init__(self, uid: int | None, *, user_namespace: bool) -> None:
        self._uid = uid
        self._own = os.geteuid() if uid is None else uid
        self._overlay_options = ",userxattr" if user_namespace else ""
        self._mapped = None if uid is None else ownership.mapping(os.geteuid(), uid)
        self.notes: list[str] = []

    def open(self, tree: Mapping[str, str]) -> tuple[int, bool]:
        """Return the detached tree, and whether the sandbox's uid owns what it shows."""
        if tree["mode"] == "rw" and self._uid is not None:
            ownership.give(tree["source"], self._uid)
        fd = syscalls.clone_tree(tree["source"])
        if self._mapped is None or tree["mode"] == "rw":
            return fd, True
        try:
            syscalls.idmap_tree(fd, self._mapped)
        except OSError:
            return fd, False  # this file system or kernel has no mapped mounts: readable is enough, unless it is to be written
        return fd, True

    def make_space(self, size: int) -> None:
        Path(SPACE).mkdir()
        options = f"mode=755,size={size},nr_inodes={max(1024, size // _INODE_BYTES)}"
        syscalls.mount("tmpfs", SPACE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
        for name, mode in (("home", 0o755), ("tmp", 0o1777), ("shm", 0o1777)):
            self._own_directory(f"{SPACE}/{name}", mode)

    def attach(self, tree: Mapping[str, str], fd: int, *, owned: bool) -> None:
        """Mount the tree at its name; one that is to be written and vanish gets its changes into the space."""
        target = f"{STAGE}/{tree['name']}"
        if tree["mode"] != "overlay":
            _attach(fd, target)
            return
        _attach(fd, f"{target}.lower")
        if not (owned and self._overlay(f"{target}.lower", target, f"{SPACE}/{tree['name']}")):
            self._copy(f"{target}.lower", target, f"{SPACE}/{tree['name']}.copy")

    def _overlay(self, lower: str, target: str, changes: str) -> bool:
        """Return whether the kernel grants the overlay; a layer below that belongs to another uid could not be changed."""
        Path(changes).mkdir()
        self._own_directory(f"{changes}/upper", 0o755)
        Path(changes, "work").mkdir()
        Path(target).mkdir()
        layers = f"lowerdir={lower},upperdir={changes}/upper,workdir={changes}/work"
        try:
            syscalls.mount("overlay", target, "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, layers + self._overlay_options)
        except OSError:
            return False
        return True

    def _copy(self, lower: str, target: str, space: str) -> None:
        shutil.copytree(lower, space, symlinks=True)
        if self._uid is not None:
            ownership.give(space, self._uid)
        Path(target).mkdir(exist_ok=True)
        syscalls.attach_tree(syscalls.clone_tree(space), target)
        if _COPIED not in self.notes:
            self.notes.append(_COPIED)

    def _own_directory(self, path: str, mode: int) -> None:
        Path(path).mkdir()
        Path(path).chmod(mode)
        if self._uid is not None:
            os.chown(path, self._uid, self._uid)


def stage(plan: Mapping[str, Any], uid: int | None, *, user_namespace: bool) -> bytes:
    """Build the stage of `plan` in a new mount namespace of the calling process; return a JSON line `{"notes": [...]}`."""
    syscalls.unshare(syscalls.NEWNS)
    syscalls.make_private()
    building = _Stage(uid, user_namespace=user_namespace)
    opened = [(tree, *building.open(tree)) for tree in plan["trees"]]
    syscalls.mount("tmpfs", STAGE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    building.make_space(plan["space"])
    for tree, fd, owned in opened:
        building.attach(tree, fd, owned=owned)
    for name, text in plan["files"].items():
        Path(STAGE, name).write_text(text)
    return json.dumps({"notes": building.notes}).encode() + b"\n"


def _attach(fd: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        Path(target).mkdir()
    else:
        Path(target).touch()
    syscalls.attach_tree(fd, target)
