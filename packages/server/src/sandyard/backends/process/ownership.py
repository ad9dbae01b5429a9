"""Who owns files: trees given to a sandbox's uid and taken back, and mounts that show one uid's files as another's."""

from __future__ import annotations

import os
from pathlib import Path

from . import syscalls


def give(path: str, uid: int) -> None:
    """Make `uid` the owner of the tree at `path`. No process may be at work in it.

    Every name is looked up in a directory that is held open, no link is followed, no other device entered, and no depth is too deep;
    the kernel takes set-uid bits off on the way.
    """
    current = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        device = os.fstat(current).st_dev
        pending = [_give_entries(current, uid)]
        while pending:
            if pending[-1]:
                below = _enter(pending[-1].pop(), current, device)
                if below is None:
                    continue
                pending.append(_give_entries(below, uid))
            else:
                pending.pop()
                below = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
    finally:
        os.close(current)


def _give_entries(directory: int, uid: int) -> list[str]:
    """Give away the directory and what lies in it; return the names of its directories."""
    os.fchown(directory, uid, uid)
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


def mapping(outside: int, inside: int) -> int:
    """Return a user namespace that maps the files of `outside` to `inside`, for mapped mounts. Needs the right to write any map."""
    ready, done = os.pipe2(os.O_CLOEXEC)
    go, release = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(release)
        _hold(done, go)
    try:
        os.close(done)
        (number,) = os.read(ready, 1)
        if number:
            raise OSError(number, os.strerror(number), "unshare user ns")
        for kind in ("uid", "gid"):
            Path(f"/proc/{pid}/{kind}_map").write_text(f"{outside} {inside} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (ready, go, release):
            os.close(fd)
        os.waitpid(pid, 0)


def _hold(done: int, go: int) -> None:
    """Make the namespace, say how that went (an errno), then keep it until the other end of `go` is closed."""
    number = 0
    try:
        syscalls.unshare(syscalls.NEWUSER)
    except OSError as error:
        number = error.errno or 1
    os.write(done, bytes([number]))
    os.read(go, 1)
    os._exit(0)
