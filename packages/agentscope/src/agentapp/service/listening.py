"""Listening, and starting again on the same socket: no caller is refused while the app is loaded anew."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.runtime import listener

if TYPE_CHECKING:
    from types import FrameType

    from ppio_sandbox.agent_runtime.runtime.asgi import Application
    from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig

logger = logging.getLogger("agentapp")

INHERITED = "AGENTAPP_LISTENER"
"""The variable by which a process hands its listening socket on: a descriptor's number."""
STARTUP_FAILED = 3


class Listener:
    """Serves `app`. `restart` drains, and then runs the same command anew on the same socket."""

    def __init__(self, app: Application, settings: RuntimeConfig) -> None:
        self._socket = _socket(settings.host, settings.port)
        self._again = False
        self._server = _Server(listener.settings(app, settings, with_websocket=False))

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        kept = self._socket.dup()  # the server closes its own
        with contextlib.suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])
        if self._again:
            os.set_inheritable(kept.fileno(), True)
            environment = {**os.environ, INHERITED: str(kept.fileno())}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 (this very command)
        kept.close()
        return 0 if self._server.started else STARTUP_FAILED

    def restart(self) -> None:
        """Begin to end, and start again when what is being answered is done."""
        logger.info("the platform asks for a restart")
        self._again = True
        self._server.stop()


class _Server(listener.Server):
    """Ends on a signal, and does not raise it again when all is done: that an app was told to end is no failure."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second Ctrl-C does not wait for what is being answered."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.stop()


def _socket(host: str, port: int) -> socket.socket:
    inherited = os.environ.pop(INHERITED, "")
    if inherited.isdigit():
        return socket.socket(fileno=int(inherited))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # the protocol is named: asyncio delays small writes else
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made
