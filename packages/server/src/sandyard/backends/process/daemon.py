"""Becoming the keeper: a process of its own session, one per data directory, that no death of the server ends."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

from . import syscalls
from .keeper import Keeper

LOCK = "keeper.lock"
SOCKET = "keeper.sock"
LOG = "logs/keeper.log"
_BACKLOG = 4


def main() -> None:
    """Run the keeper of the data directory that is the first argument, for "full" isolation or "none".

    The process that was started exits 0 once the keeper listens or another one does already; what forbids it stands on stderr.
    """
    data_dir = Path(sys.argv[1])
    syscalls.close_from(3)  # uvloop's children inherit the server's descriptors, its lock among them
    os.umask(0o077)
    os.chdir("/")
    ready, done = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(done)
        os._exit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    os.setsid()
    if os.fork():
        os._exit(0)
    _run(data_dir, done)


def _run(data_dir: Path, done: int) -> None:
    lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(done, b"1")
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    syscalls.become_subreaper()
    listener = _listener(data_dir)
    keeper = Keeper(data_dir, listener, isolation=sys.argv[2])
    _let_go_of_the_starter(data_dir)
    os.write(done, b"1")
    os.close(done)
    keeper.run()
    (data_dir / SOCKET).unlink(missing_ok=True)


def _listener(data_dir: Path) -> socket.socket:
    """Return the listening socket. Its directory is entered by descriptor, because a socket's path is held to 107 bytes."""
    (data_dir / SOCKET).unlink(missing_ok=True)
    directory = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
    os.close(directory)
    (data_dir / SOCKET).chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _let_go_of_the_starter(data_dir: Path) -> None:
    """Keep nothing of the server's: from here on, trouble goes to the log."""
    (data_dir / LOG).parent.mkdir(mode=0o700, exist_ok=True)
    log = os.open(data_dir / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd, number in ((nothing, 0), (nothing, 1), (log, 2)):
        os.dup2(fd, number)
    os.close(log)
    os.close(nothing)
