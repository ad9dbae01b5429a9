"""The guest's own port: pid 1 listens, and on the first connection forks a process that speaks HTTP there.

Forked, not executed: an interpreter's start would be half of the time to the first answer, and its memory is shared with ours.
"""

from __future__ import annotations

import os
import time

from sandkit.guest.light import signal, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 49983  # where the sandbox's clients expect the guest (sandbox-protocol: envd)
_BACKLOG = 512
_PATIENCE = 0.05  # seconds
_FIRST = 3  # the first descriptor after the standard ones
_RESTART = 1.0  # seconds between two starts, so that a server that cannot live costs nothing


def listens(port: int) -> bool:
    """Whether something listens on the loopback port. Where nothing does, the kernel says so at once."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    probe.settimeout(_PATIENCE)
    try:
        probe.connect(("127.0.0.1", port))
    except TimeoutError:
        return True  # its backlog is full
    except OSError:
        return False
    finally:
        probe.close()
    return True


class Port:
    """Our listening socket and the process that serves it, if it had to be started.

    `waiting` is the descriptor to poll for the first connection (None: the process has it); `retry_at` when to poll again.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.pid: int | None = None
        self.retry_at: float | None = None
        self.waiting: int | None = None
        self._started_at = -_RESTART
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", PORT))
            self._socket.listen(_BACKLOG)
        except OSError:
            return  # without isolation the port may be another sandbox's: this one does without
        self.waiting = self._socket.fileno()

    def serve(self) -> None:
        """Start the process: somebody has connected, or will at once. A sandbox that is out of processes tries again later."""
        self.waiting = None
        self._started_at = time.monotonic()
        try:
            pid = os.fork()
        except OSError:
            self.died()
            return
        if pid == 0:
            _become_server(self._socket.fileno(), self._environment)
        self.pid = pid

    def end(self) -> None:
        """Ask the process to end, with all that clients have started: where we are not pid 1, only it knows them."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    def died(self) -> None:
        """The process has ended (the agent may kill it: same uid): wait for the next connection, but not at once."""
        self.pid = None
        self.retry_at = self._started_at + _RESTART

    def retry(self) -> None:
        self.retry_at = None
        self.waiting = self._socket.fileno()


def _become_server(listener: int, environment: Mapping[str, str]) -> None:
    """Serve for ever in the forked process, which keeps nothing of ours but the listening socket. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        os.dup2(listener, _FIRST)
        os.closerange(_FIRST + 1, os.sysconf("SC_OPEN_MAX"))
        from sandkit.guest.envd.server import main  # noqa: PLC0415 (only this process pays for it)

        main(_FIRST, environment)
    finally:
        os._exit(1)
