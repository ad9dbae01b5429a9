"""The parent of all calls of one prefab version: imports its module once, then forks a process for each connection.

The server connects ahead, so that the process of the next call waits for it already. One thread, one `poll`. The parent reads
nothing of a call, so no secret and no file ever is in it; it watches each call's connection for its end (that is the cancel), keeps
the last of what the call prints, and when a call's process has ended it kills what that one left behind, removes its directory and
says how it ended.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from types import FunctionType

from sandkit.guest.light import make_undumpable
from sandkit.prefabs import call, frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL of a cancelled call."""
LOG_BYTES = 16 * 1024
_BACKLOG = 256
_READ = 64 * 1024
_SUBREAPER = 36  # prctl
_ASYNCHRONOUS = 0x80 | 0x200
"""The flags of a code object that is a coroutine's or an asynchronous generator's."""


class Running:
    """One call's process: its end of the connection, the pipe that it prints into, when it must be killed.

    `began` is when its call came, in clock ticks since boot; until then it has done nothing, and left nothing behind.
    """

    def __init__(self, connection: socket.socket, log: int, directory: str) -> None:
        self.connection = connection
        self.log = log
        self.directory = directory
        self.tail = b""
        self.began: int | None = None
        self.kill_at: float | None = None

    def print(self) -> bool:
        """Take what was printed; False when the pipe is at its end."""
        try:
            data = os.read(self.log, _READ)
        except BlockingIOError:
            return True
        if self.began is None and data:
            self.began, data = _now_ticks(), data[len(call.BEGUN) :]
        self.tail = (self.tail + data)[-LOG_BYTES:]
        return bool(data)


class Parent:
    """Owns the listener and all calls."""

    def __init__(self, serve: Callable[[socket.socket, str], NoReturn]) -> None:
        self._serve = serve
        self._listener = _listen()
        self._wakeup = _child_signals()
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)
        self._calls: dict[int, Running] = {}  # by process id
        self._by_fd: dict[int, int] = {}  # connection or log pipe -> process id
        self._cleaners: set[int] = set()
        self._number = 0

    def run(self) -> NoReturn:
        """Serve for ever; the sandbox's end is ours."""
        while True:
            for fd, events in self._poll.poll(self._patience()):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif fd in self._by_fd:
                    self._heard(fd, events)
            self._kill_overdue()

    def _patience(self) -> float | None:
        due = [running.kill_at for running in self._calls.values() if running.kill_at is not None]
        return max(0.0, min(due) - time.monotonic()) * 1000 if due else None

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fork(connection)

    def _fork(self, connection: socket.socket) -> None:
        """Start the process that serves a connection."""
        self._number += 1
        directory = f"{os.environ['PREFAB_CALLS']}/{self._number}"
        log, printing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(log, False)
        try:
            pid = os.fork()
        except OSError as error:
            self._refuse(connection, error)
            os.close(log)
            os.close(printing)
            return
        if pid == 0:
            self._child(connection, printing, directory)
        os.close(printing)
        self._calls[pid] = Running(connection, log, directory)
        self._by_fd[connection.fileno()] = self._by_fd[log] = pid
        self._poll.register(connection, select.POLLRDHUP)
        self._poll.register(log, select.POLLIN)

    def _refuse(self, connection: socket.socket, error: OSError) -> None:
        failure = {"code": -32000, "message": f"No process can be started: {error.strerror}", "data": {"error_code": "RESOURCE_EXCEEDED"}}
        _tell(connection, {"jsonrpc": "2.0", "id": 1, "error": failure})
        connection.close()

    def _child(self, connection: socket.socket, printing: int, directory: str) -> NoReturn:
        """Become the process of one call, which knows nothing of the others."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for running in self._calls.values():
                running.connection.close()
                os.close(running.log)
            self._listener.close()
            os.close(self._wakeup)
            os.dup2(printing, 1)
            os.dup2(printing, 2)
            os.close(printing)
            self._serve(connection, directory)
            code = 0
        finally:
            os._exit(code)

    def _heard(self, fd: int, events: int) -> None:
        running = self._calls[self._by_fd[fd]]
        if fd == running.log:
            if not running.print():
                self._forget(fd)
        elif events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR):
            self._forget(fd)
            self._cancel(running)

    def _forget(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _cancel(self, running: Running) -> None:
        pid = next(pid for pid, other in self._calls.items() if other is running)
        running.kill_at = time.monotonic() + GRACE
        _kill_group(pid, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid, running in self._calls.items():
            if running.kill_at is not None and now >= running.kill_at:
                running.kill_at = now + GRACE
                _kill_group(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._cleaners.discard(pid)
            if pid in self._calls:
                self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        """Say how a call's process ended, and leave nothing of it."""
        _kill_group(pid, signal.SIGKILL)
        running = self._calls.pop(pid)
        running.print()
        for fd in (running.connection.fileno(), running.log):
            self._forget(fd)
        code = os.waitstatus_to_exitcode(status)
        params = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "log": running.tail.decode(errors="replace")}
        _tell(running.connection, {"jsonrpc": "2.0", "method": "exited", "params": params})
        running.connection.close()
        os.close(running.log)
        self._remove(running.directory)
        self._kill_strays()

    def _remove(self, directory: str) -> None:
        """Remove a call's directory; what is not empty takes as long as the function wished, so another process does that."""
        try:
            for below in (call.INPUTS, call.OUTPUTS, "data", ""):
                os.rmdir(f"{directory}/{below}")  # noqa: PTH106
        except OSError:
            self._cleaners.add(os.posix_spawn("/bin/rm", ["rm", "-rf", directory], {}))

    def _kill_strays(self) -> None:
        """Kill what escaped from the group of a call that has ended: our adopted children from before the oldest call that runs."""
        oldest = min((running.began for running in self._calls.values() if running.began is not None), default=None)
        for pid in _children():
            if pid in self._calls or pid in self._cleaners:
                continue
            if oldest is None or _started(pid) < oldest:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue


def main(arguments: list[str]) -> int:
    """Import the prefab's module and serve its calls. `arguments`: nothing, or `--call FD DIRECTORY` for one call in a fresh process."""
    home, entry = os.environ["PREFAB_HOME"], os.environ["PREFAB_ENTRY"]
    sys.path[0] = home  # in place of our own, which is imported by now
    make_undumpable()
    module = importlib.import_module(entry.removesuffix(".py").replace("/", "."))
    if arguments:
        call.serve(socket.socket(fileno=int(arguments[1])), lambda name: getattr(module, name), arguments[2], call.held())
        return 0
    if any(value.__code__.co_flags & _ASYNCHRONOUS for value in vars(module).values() if isinstance(value, FunctionType)):
        importlib.import_module("asyncio")  # once, and not in every call
    _prctl_subreaper()
    os.makedirs(os.environ["PREFAB_CALLS"], mode=0o700, exist_ok=True)  # noqa: PTH103 (pathlib would be a module more)
    gc.collect()
    gc.freeze()
    return Parent(_fresh if _has_threads() else _forked(module)).run()


def _forked(module: Any) -> Callable[[socket.socket, str], Any]:
    held = call.held()
    return lambda connection, directory: call.serve(connection, lambda name: getattr(module, name), directory, held)


def _fresh(connection: socket.socket, directory: str) -> NoReturn:
    """The import has left threads, and a fork has none of them, but perhaps their locks: start over in a new interpreter."""
    os.set_inheritable(connection.fileno(), True)
    script = f"{os.path.dirname(__file__)}/__main__.py"  # noqa: PTH120
    os.execv(sys.executable, [sys.executable, "-I", "-B", script, "--call", str(connection.fileno()), directory])  # noqa: S606


def _has_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1  # noqa: PTH208


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", frames.PORT))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _child_signals() -> int:
    """Return a descriptor that tells of SIGCHLD."""
    receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return receiving


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send without waiting: who does not read does not hold us up."""
    try:
        connection.setblocking(False)
        connection.send(frames.pack(message))
    except OSError:
        return


def _kill_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        return  # nobody is left


def _prctl_subreaper() -> None:
    import ctypes  # noqa: PLC0415 (once, before any call)

    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    return [int(word) for word in _read(f"/proc/self/task/{os.getpid()}/children").split()]


def _started(pid: int) -> int:
    """Return when a process started, in clock ticks since boot."""
    try:
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19])
    except (ValueError, IndexError):
        return sys.maxsize


def _read(path: str) -> bytes:
    """Return a small file of /proc, empty where there is none. No file object: after each fork every page that is touched is copied."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _READ)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _now_ticks() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
