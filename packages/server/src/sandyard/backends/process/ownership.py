"""Who owns files: trees given to a sandbox's uid and taken back, and mounts that show one uid's files as another's."""

from __future__ import annotations

import fcntl
import os
import resource
from pathlib import Path

from . import syscalls, uids

_NESTED = Path("/proc/sys/user/max_user_namespaces")
_OUTSIDE_PROCESSES = 4  # bubblewrap's own
USER_ID = 1000


def give(path: str, uid: int) -> None:
    """Make `uid` the owner of the tree at `path`. No process may be at work in it.

    Every name is looked up in a directory that is held open, no link is followed, no other device entered, and no depth is too deep;
    the kernel takes set-uid bits off on the way.
    """
    current = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        device = os.fstat(current).st_dev
        pending = [_give_entries(current, uid)]
        while True:
            if pending[-1]:
                below = _enter(pending[-1].pop(), current, device)
                if below is None:
                    continue
                os.fchown(below, uid, uid)
                pending.append(_give_entries(below, uid))
            else:
                pending.pop()
                if not pending:
                    os.fchown(current, uid, uid)  # last: what was cut short is not taken for done
                    return
                below = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
    finally:
        os.close(current)


def claim(path: str, uid: int) -> None:
    """Give the tree to `uid`, unless it has been claimed for sandboxes already: they may be at work in it."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(top, fcntl.LOCK_EX)
        if not uids.STORED <= os.fstat(top).st_uid < uids.STORED + uids.RANGE:
            give(path, uid)
    finally:
        os.close(top)


def stored(uid: int, ids: int) -> int:
    """Return the namespace that shows files with stored owners (`uids.STORED`) as those of a sandbox with `ids` ids from `uid` on."""
    return mapping(uids.STORED, uid, ids) if ids > 1 else mapping(uids.STORED + USER_ID, uid)


def _give_entries(directory: int, uid: int) -> list[str]:
    """Give away what lies in the directory but directories, and return their names."""
    names: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            else:
                os.chown(entry.name, uid, uid, dir_fd=directory, follow_symlinks=False)
    return names


def _enter(name: str, directory: int, device: int) -> int | None:
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if os.fstat(below).st_dev == device:
        return below
    os.close(below)
    return None


def mapping(inside: int, outside: int, count: int = 1, *, processes: int | None = None) -> int:
    """Return a user namespace that maps `count` ids from `inside` on to those from `outside` on. Needs the right to write any map.

    It serves mapped mounts: files of `inside` are shown as those of `outside`. With `processes` it is for a sandbox to live in:
    made by `outside`, so that its processes are counted against that bound and nobody else's, and without namespaces below it.
    """
    ready, done = os.pipe2(os.O_CLOEXEC)
    go, release = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(release)
        _hold(done, go, outside, processes)
    try:
        os.close(done)
        (number,) = os.read(ready, 1)
        if number:
            raise OSError(number, os.strerror(number), "unshare user ns")
        for kind in ("uid", "gid"):
            Path(f"/proc/{pid}/{kind}_map").write_text(f"{inside} {outside} {count}")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (ready, go, release):
            os.close(fd)
        os.waitpid(pid, 0)


def _hold(done: int, go: int, maker: int, processes: int | None) -> None:
    """Make the namespace, say how that went (an errno), then keep it until the other end of `go` is closed."""
    number = 0
    try:
        if processes is not None:
            bound = processes + _OUTSIDE_PROCESSES
            resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))
            os.setgroups([])
            os.setresgid(maker, maker, maker)
            os.setresuid(maker, maker, maker)
        syscalls.unshare(syscalls.NEWUSER)
        if processes is not None:
            _NESTED.write_text("0")
    except OSError as error:
        number = error.errno or 1
    os.write(done, bytes([number]))
    os.read(go, 1)
    os._exit(0)
