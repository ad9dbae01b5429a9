"""The guest's own port: pid 1 listens, and on the first connection hands the socket to a process that speaks HTTP."""

from __future__ import annotations

import os
import sys
import time

from sandkit.guest.light import socket
from sandkit.guest.processes import spawn

PORT = 49983  # where the sandbox's clients expect the guest (sandbox-protocol: envd)
_BACKLOG = 512
_PATIENCE = 0.05  # seconds
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

    def __init__(self) -> None:
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
        """Start the process: somebody has connected. A sandbox that is out of processes tries again later."""
        self.waiting = None
        self._started_at = time.monotonic()
        script = f"{os.path.dirname(__file__)}/http_server.py"  # noqa: PTH120 (pathlib takes 6 ms to import)
        try:
            self.pid = spawn([sys.executable, "-I", "-S", "-B", script], {}, stdin=self._socket.fileno(), output=None)
        except OSError:
            self.died()

    def died(self) -> None:
        """The process has ended (the agent may kill it: same uid): wait for the next connection, but not at once."""
        self.pid = None
        self.retry_at = self._started_at + _RESTART

    def retry(self) -> None:
        self.retry_at = None
        self.waiting = self._socket.fileno()
