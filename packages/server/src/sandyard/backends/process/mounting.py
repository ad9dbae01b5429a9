"""Directories shown in a sandbox that lives, and taken from it: a child of the keeper that enters its mount namespace.

What the child meets there is foreign, and changes while it looks. It walks to its target name by name, by directories that it holds
open, through no link; what it mounts was opened outside, and is put over what it holds open; what is missing on the way it makes with
the rights of who owns the directory above. So the worst that a sandbox can do is to have it end elsewhere in that same sandbox.
"""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandyard import disks

from . import ownership, processes, protocol, staging, syscalls, uids
from .connection import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .loop import Loop
    from .records import Record
    from .sandbox import Sandbox

_RESULT_SIZE = 16 * 1024
_ONLY_ROOT = "A sandbox that lives can be given directories only where the server is root and sandboxes are isolated."
_PATIENCE = 20.0
"""Seconds that a child may take: it waits for nobody but the kernel."""
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DONE, _IN_THE_WAY = b"+", b"-"
_REASONS = {
    errno.ENOTDIR: "leads through something that is no directory (links are not followed)",
    errno.ELOOP: "leads through a link, and links are not followed",
    errno.EROFS: "is not there, and nothing can be made there; choose a path below /home/user or /tmp",
    errno.EACCES: "is not there, and may not be made there by who owns the directory above",
    errno.EPERM: "is not there, and may not be made there by who owns the directory above",
    errno.ENOSPC: "is not there, and the sandbox's disk is full",
    errno.EBUSY: "is in use; end what has files open below it, or use force=true",
}


class Mounting:
    """One mount or unmount under way; `then` is called once, with None or with an error word and a sentence."""

    def __init__(self, loop: Loop, sandbox: Sandbox, wanted: Mapping[str, Any], then: Callable[[tuple[str, str] | None], None]) -> None:
        if sandbox.record.bare or sandbox.record.uid is None:
            raise Refused(protocol.UNSUPPORTED, _ONLY_ROOT)
        job = _Job(
            record=sandbox.record,
            first=sandbox.held(),
            source=str(wanted["source"]),
            disk=bool(wanted["disk"]),
            names=tuple(str(wanted["target"]).strip("/").split("/")),
            force=bool(wanted.get("force")),
        )
        self._loop = loop
        self._then = then
        self._result = os.memfd_create("result", os.MFD_CLOEXEC)
        work = _take_away if wanted["away"] else _show
        try:
            _, self._worker = processes.fork(lambda: _carry_out(work, job, self._result), errors=self._result)
        except BaseException:
            os.close(self._result)
            raise
        loop.watch(self._worker, self._on_worker)

    def _on_worker(self) -> None:
        self._loop.unwatch(self._worker)
        os.close(self._worker)
        text = os.pread(self._result, _RESULT_SIZE, 0)
        os.close(self._result)
        if text.startswith(_DONE):
            self._then(None)
        elif text.startswith(_IN_THE_WAY):
            self._then((protocol.IN_THE_WAY, text[1:].decode(errors="replace")))
        else:
            lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
            self._then((protocol.UNAVAILABLE, lines[-1].strip() if lines else "it was cut short"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    record: Record
    first: int
    """A pidfd."""
    source: str
    disk: bool
    names: tuple[str, ...]
    """The target's, from the root inside."""
    force: bool


def _carry_out(work: Callable[[_Job], None], job: _Job, result: int) -> None:
    """Do it and say how that went. Runs in the child, which is killed where it takes too long."""
    syscalls.die_with_parent(signal.SIGKILL)
    os.umask(0o022)
    os.setgroups([])
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        work(job)
    except _InTheWay as refusal:
        os.write(result, _IN_THE_WAY + str(refusal).encode())
    else:
        os.write(result, _DONE)


class _InTheWay(Exception):  # noqa: N818 (not a mistake of ours)
    def __init__(self, job: _Job, error: OSError) -> None:
        super().__init__(f"/{'/'.join(job.names)} {_REASONS.get(error.errno or 0, error.strerror)}")


def _show(job: _Job) -> None:
    tree = _tree(job)
    target = _enter(job)
    try:
        for name in job.names:
            target = _below(target, name, job.record)
        if not os.path.samestat(os.fstat(target), os.fstat(tree)):  # else who asked before did not hear the answer
            syscalls.move_tree(tree, target)
    except OSError as error:
        raise _InTheWay(job, error) from error


def _take_away(job: _Job) -> None:
    tree = _tree(job)
    proc = os.open("/proc", _WALK)
    root = _enter(job)
    try:
        if not _unmounted(job, tree, root) and _mounted(proc, os.fstat(tree).st_dev, disks.CONTENT if job.disk else Path(job.source).name):
            raise _InTheWay(job, OSError(errno.ESTALE, "was moved by the sandbox: let it move that back, or end it"))
    except OSError as error:
        raise _InTheWay(job, error) from error


def _unmounted(job: _Job, tree: int, parent: int) -> bool:
    """Unmount the tree from where it was put; False: it is not there."""
    try:
        for name in job.names[:-1]:
            parent = os.open(name, _WALK, dir_fd=parent)
        found = os.stat(job.names[-1], dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not os.path.samestat(found, os.fstat(tree)):
        return False
    os.fchdir(parent)  # no name of a mount can be changed as long as it is one
    syscalls.unmount(job.names[-1], detach=job.force)
    return True


def _mounted(proc: int, device: int, name: str) -> bool:
    """Whether a directory of that name and device is mounted anywhere in the namespace; `proc` is the host's /proc, open."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with os.fdopen(os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), errors="replace") as lines:
        mounts = [line.split(" ") for line in lines]
    return any(fields[2] == number and fields[3].rpartition("/")[2] == name for fields in mounts)


def _tree(job: _Job) -> int:
    """Return the detached tree of the source, with its files shown as the sandbox's."""
    uid = job.record.uid
    assert uid is not None
    syscalls.unshare(syscalls.NEWNS)
    syscalls.make_private()
    with staging.place_of(job.source, disk=job.disk) as place:
        ownership.claim(place, uids.STORED + ownership.USER_ID)
        tree = syscalls.clone_tree(place)
    syscalls.disarm_tree(tree)
    syscalls.idmap_tree(tree, ownership.stored(uid, job.record.ids))
    return tree


def _enter(job: _Job) -> int:
    """Enter the sandbox's mount namespace and return its root, open."""
    outside = Path("/").stat()
    syscalls.setns(job.first, syscalls.NEWNS)
    root = os.open("/", _WALK)
    if os.path.samestat(os.fstat(root), outside):
        raise OSError(errno.EXDEV, "the sandbox has no file system of its own")
    return root


def _below(parent: int, name: str, record: Record) -> int:
    """Return the directory `name` in the one open as `parent`, made where it is missing."""
    try:
        return os.open(name, _WALK, dir_fd=parent)
    except FileNotFoundError:
        pass
    owner = os.fstat(parent).st_uid
    first = record.uid or 0
    syscalls.act_as(owner if first <= owner < first + record.ids else first)
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        syscalls.act_as(0)
    return os.open(name, _WALK, dir_fd=parent)
