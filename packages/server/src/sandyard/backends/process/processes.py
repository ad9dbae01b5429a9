"""Host processes by pid, told apart by their start time; and children that are never waited for.

The keeper ignores SIGCHLD, so the kernel reaps its children and strangers alike; ends are seen on pidfds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from . import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_PARENT = 1
_STARTED = 19


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command's name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def started(pid: int) -> int:
    """Return when the process was started, in clock ticks since boot.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        return int(_fields(pid)[_STARTED])
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error


def parent(pid: int) -> int:
    """Return the pid of its parent.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        return int(_fields(pid)[_PARENT])
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error


def opened(pid: int, started_at: int) -> int | None:
    """Return a pidfd of the process if it still is the one that was started then."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if started(pid) == started_at:
            return fd
    except ProcessLookupError:
        pass
    os.close(fd)
    return None


def kill(pidfd: int) -> None:
    """Send SIGKILL; no error if it has gone."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_with_children(pid: int, pidfd: int) -> None:
    """Kill a process that is held by `pidfd`, its children first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    kill(pidfd)


def wait(pidfd: int, seconds: float) -> bool:
    """Return whether the process ended within that time."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def fork(work: Callable[[], None], errors: int = 2) -> tuple[int, int]:
    """Run `work` in a child; return its pid and pidfd. What it raises is written to `errors`, and it exits with 125.

    The child starts once its pidfd is held: an ignored SIGCHLD leaves no zombie that would keep the number from being used again.
    """
    ready, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _child(work, ready, go, errors)
    os.close(ready)
    try:
        return pid, os.pidfd_open(pid)
    finally:
        os.close(go)


def _child(work: Callable[[], None], ready: int, go: int, errors: int) -> None:
    try:
        os.close(go)
        os.read(ready, 1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 (a forked child must never return into the keeper's loop)
        os.write(errors, traceback.format_exc()[-4000:].encode())
        os._exit(125)


def signal_all(first: int, number: int) -> None:
    """Send a signal to every process of the pid namespace whose first process is held by the pidfd `first`, that one included.

    The namespace is entered by the pidfd, never by a number: a number that has become another's would mean the whole machine.

    Raises:
        ProcessLookupError: it has gone.
    """
    _, pidfd = fork(lambda: _inside(first, number))
    try:
        wait(pidfd, 1.0)
    finally:
        os.close(pidfd)
    signal.pidfd_send_signal(first, number)


def wait_until_stopped(first: int, pidfd: int, seconds: float) -> None:
    """Return when every process of the sandbox stands still; the sandbox's own /proc lists them, and it cannot change that.

    Raises:
        ProcessLookupError: its first process, which is held by `pidfd`, has ended.
        TimeoutError: one still runs.
    """
    deadline = time.monotonic() + seconds
    while not _all_stopped(f"/proc/{first}/root/proc"):
        if wait(pidfd, 0.0005):
            raise ProcessLookupError(first)
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every process stood still within {seconds:g} s")


def _all_stopped(proc: str) -> bool:
    try:
        entries = list(os.scandir(proc))
    except OSError:  # the first process is dying: its root is out of reach before its pidfd tells
        return False
    for entry in entries:
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                state = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "TtZX":
                    return False
    return True


def _inside(first: int, number: int) -> None:
    syscalls.setns(first, syscalls.NEWPID)
    pid = os.fork()
    if pid == 0:
        os.kill(-1, number)
        os._exit(0)
    os.waitpid(pid, 0)
