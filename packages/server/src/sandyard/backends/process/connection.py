"""The keeper's side of the connection to its server: requests as they come, answers and events as they can be sent."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from .loop import Loop


class Refused(Exception):  # noqa: N818 (a word of the protocol)
    """A request that cannot be met: the reply's error word and sentence."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.word = word


@dataclass(frozen=True, slots=True)
class Request:
    """What the server asks. `fds` are closed after the call."""

    number: int
    fields: Mapping[str, Any]
    fds: tuple[int, ...]


class Server:
    """The connection to the server. What it does not read at once is queued, never waited for."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self.sock = sock
        self._queue: deque[tuple[protocol.Message, tuple[int, ...]]] = deque()

    def send(self, message: protocol.Message, fds: tuple[int, ...] = ()) -> None:
        """Send or queue a message; duplicates of `fds` are kept as long as it is queued."""
        if self._queue:
            self._queue.append((message, tuple(map(os.dup, fds))))
            return
        try:
            protocol.send(self.sock, message, fds)
        except BlockingIOError:
            self._queue.append((message, tuple(map(os.dup, fds))))
            self._loop.watch_write(self.sock.fileno(), self._flush)
        except protocol.Closed:
            return  # reading will tell

    def close(self) -> None:
        self._loop.unwatch(self.sock.fileno())
        self.sock.close()
        while self._queue:
            close_all(self._queue.popleft()[1])

    def _flush(self) -> None:
        while self._queue:
            message, fds = self._queue[0]
            try:
                protocol.send(self.sock, message, fds)
            except BlockingIOError:
                return
            except protocol.Closed:
                break
            self._queue.popleft()
            close_all(fds)
        self._loop.watch_write(self.sock.fileno(), None)


def close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
