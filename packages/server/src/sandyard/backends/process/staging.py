"""The stage: everything that a sandbox will see, mounted below one cover in a mount namespace of the launcher's own.

Whatever way a launch ends, nothing is left to unmount. Sources are opened before the cover lies over them and before the uid is
dropped, so that an interpreter, checkout or data directory below a home directory of mode 0700 can be shown.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandyard import disks

from . import layers, ownership, syscalls, uids
from .ownership import USER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from .identities import Identity

STAGE = "/tmp"  # noqa: S108 (covered; bubblewrap resolves its sources through the same mount)
SPACE = f"{STAGE}/space"
UPPER, WORK, WHOLE = "upper", "work", "whole"
_INODE_BYTES = 8192
_COPIED = "Writable mounts are copies: the kernel refused an overlay"
_FIXED = "The system cannot be changed: the kernel refused an overlay"
_ALONE = "A writable mount is this sandbox's alone: its file system knows no mapped mounts"


class _Stage:
    """One launch's stage."""

    def __init__(self, plan: Mapping[str, Any], ids: Identity, *, user_namespace: bool) -> None:
        self.ids = ids
        self._trees = {tree["name"]: tree for tree in plan["trees"]}
        self._user_attributes = user_namespace
        self._owned: set[str] = set()
        self.notes: list[str] = []

    def open(self, tree: Mapping[str, Any]) -> int:
        """Return the detached tree, with its files shown as the sandbox's where that can be."""
        with place_of(tree["source"], disk=tree["disk"]) as place:
            return self._open(tree, place)

    def _open(self, tree: Mapping[str, Any], place: str) -> int:
        if tree["mode"] == "rw" and self.ids.uid is not None:
            ownership.claim(place, uids.STORED + USER_ID)
        fd = syscalls.clone_tree(place)
        mapping = self.ids.mapping(tree["ids"])
        if mapping is None:
            self._owned.add(tree["name"])
            return fd
        try:
            syscalls.idmap_tree(fd, mapping)
            self._owned.add(tree["name"])
        except OSError:  # this file system or kernel has no mapped mounts: readable is enough, unless it is to be written
            if tree["mode"] == "rw":
                self._take_alone(place)
        return fd

    def _take_alone(self, place: str) -> None:
        user = self.ids.host(USER_ID)
        assert user is not None
        ownership.give(place, user)
        self._note(_ALONE)

    def make_space(self, size: int) -> None:
        Path(SPACE).mkdir()
        options = f"mode=755,size={size},nr_inodes={max(1024, size // _INODE_BYTES)}"
        syscalls.mount("tmpfs", SPACE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)

    def write(self, name: str, text: str) -> None:
        """Write a small file; what lies in a directory is part of a layer, and belongs to the sandbox's root."""
        path = Path(STAGE, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
        owner = self.ids.host(0)
        if owner is not None:
            while str(path) != STAGE:
                os.chown(path, owner, owner)
                path = path.parent

    def attach(self, part: Mapping[str, Any]) -> None:
        """Mount what the sandbox sees of a part at its name; what it changes goes into the space."""
        target, space = f"{STAGE}/{part['name']}", f"{SPACE}/{part['name']}"
        Path(space).mkdir()
        lower = [f"{STAGE}/{name}" for name in part["lower"]]
        self._make_upper(part, f"{space}/{UPPER}", lower)
        Path(target).mkdir()
        owned = all(name not in self._trees or name in self._owned for name in part["lower"])
        if not lower:
            syscalls.attach_tree(syscalls.clone_tree(f"{space}/{UPPER}"), target)
        elif not (owned and self._overlay(lower, target, space)):
            self._do_without(part, lower, target, space)

    def _make_upper(self, part: Mapping[str, Any], upper: str, lower: list[str]) -> None:
        """Make the directory of changes, which looks like the topmost one below."""
        self._own_directory(upper, part["owner"], part["mode"])
        for place in reversed(lower):
            found = Path(place).stat()
            if stat.S_ISDIR(found.st_mode) and place != f"{STAGE}/system.box":
                Path(upper).chmod(stat.S_IMODE(found.st_mode))
                with suppress(OSError):  # of an id that is not ours to give, as the host's root is not an ordinary user's
                    os.chown(upper, found.st_uid, found.st_gid)
        for name in part["open"]:
            self._own_directory(f"{upper}/{name}", part["owner"], 0o755)

    def _overlay(self, lower: list[str], target: str, space: str) -> bool:
        """Return whether the kernel grants the overlay."""
        Path(space, WORK).mkdir()
        layers_ = f"lowerdir={':'.join(lower)},upperdir={space}/{UPPER},workdir={space}/{WORK}"
        options = ",userxattr" if self._user_attributes else ",redirect_dir=nofollow,metacopy=off,index=off"
        try:
            syscalls.mount("overlay", target, "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, layers_ + options)
        except OSError:
            return False
        return True

    def _do_without(self, part: Mapping[str, Any], lower: list[str], target: str, space: str) -> None:
        """Where there is no overlay: copy what is small, show the rest as it is.

        Raises:
            OSError: it does not fit, or changes that were saved cannot be laid over what is large.
        """
        if part["large"]:
            if len(lower) > 1:
                raise OSError("a saved system cannot be restored here: the kernel refused an overlay")
            syscalls.attach_tree(syscalls.clone_tree(lower[0]), target)
            self._note(_FIXED)
            return
        for name, place in reversed(list(zip(part["lower"], lower, strict=True))):
            self._copy(name, place, f"{space}/{UPPER}")
        Path(space, WHOLE).touch()
        syscalls.attach_tree(syscalls.clone_tree(f"{space}/{UPPER}"), target)
        self._note(_COPIED)

    def _copy(self, name: str, place: str, upper: str) -> None:
        """Put one layer into the space; where its files are not shown as the sandbox's, their owners are translated on the way."""
        merge = layers.Merge(owner=self._translation(name), opaque=opaque_attribute(user_namespace=self._user_attributes), marks=False)
        source, made = (os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (place, upper))
        try:
            merge.run(source, made)
        finally:
            os.close(source)
            os.close(made)

    def _translation(self, name: str) -> Callable[[int], int] | None:
        """Return how the owners that a tree shows become those in a copy; None: nobody but the keeper's user can own anything."""
        if self.ids.uid is None:
            return None
        if name in self._owned or name not in self._trees:
            return _as_shown
        ids = self._trees[name]["ids"]
        return lambda stored: self.ids.shown(ids, stored)

    def _own_directory(self, path: str, owner: int, mode: int) -> None:
        Path(path).mkdir()
        Path(path).chmod(mode)
        host = self.ids.host(owner)
        if host is not None:
            os.chown(path, host, host)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _as_shown(host: int) -> int:
    return host


@contextmanager
def place_of(source: str, *, disk: bool) -> Generator[str]:
    """Yield the path of the directory that a tree shows. The caller's mount namespace must be its own.

    A disk is mounted over the directory that it lies in, for as long as that takes: kernels before 6.15 clone nothing that is nowhere.
    """
    if not disk:
        yield source
        return
    cover = os.path.dirname(source)  # noqa: PTH120 (no part of it is looked at)
    syscalls.attach_tree(disks.mount(Path(source)), cover)
    try:
        yield f"{cover}/{disks.CONTENT}"
    finally:
        syscalls.unmount(cover, detach=True)


def opaque_attribute(*, user_namespace: bool) -> str:
    """Return the attribute by which overlays that a keeper mounts mark opaque directories."""
    return "user.overlay.opaque" if user_namespace else "trusted.overlay.opaque"


def stage(plan: Mapping[str, Any], ids: Identity, *, user_namespace: bool) -> bytes:
    """Build the stage of `plan` in a new mount namespace of the calling process; return a JSON line `{"notes": [...]}`."""
    syscalls.unshare(syscalls.NEWNS)
    syscalls.make_private()
    building = _Stage(plan, ids, user_namespace=user_namespace)
    opened = [(tree["name"], building.open(tree)) for tree in plan["trees"]]
    syscalls.mount("tmpfs", STAGE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    building.make_space(plan["space"])
    for name, fd in opened:
        _attach(fd, f"{STAGE}/{name}")
    for name, text in plan["files"].items():
        building.write(name, text)
    for part in plan["parts"]:
        building.attach(part)
    return json.dumps({"notes": building.notes}).encode() + b"\n"


def _attach(fd: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        Path(target).mkdir()
    else:
        Path(target).touch()
    syscalls.attach_tree(fd, target)
