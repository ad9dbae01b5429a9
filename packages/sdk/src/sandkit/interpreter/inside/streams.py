"""`sys.stdout` and `sys.stderr` of a kernel: pieces of bounded size, sent at once, and whoever prints waits for whoever reads."""

# pyright: reportUnknownMemberType=false
# ipykernel and IPython declare their types in part only.

from __future__ import annotations

import codecs
import fcntl
import os
import select
import struct
import termios
import threading
from typing import Any

from ipykernel.iostream import OutStream

_PIECE = 64 * 1024
"""The most characters in one message, and the most that may be printed before one is sent."""
_PIPE_BYTES = 64 * 1024
_SETTLE_SECONDS = 1.0


class Stream(OutStream):
    """ipykernel's, with the output of programs that write to the descriptors themselves told before the execution is over."""

    flush_interval = 0.005  # seconds: the parts of one `print` go together, and nobody notices the wait
    flush_timeout = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] (whoever prints waits for whoever reads)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unsent = 0
        self._read = threading.Condition()
        super().__init__(*args, **kwargs)

    def write(self, string: str) -> int | None:
        """Print, in pieces; wait where too much is unsent."""
        if not isinstance(string, str) or (len(string) <= _PIECE and self._unsent + len(string) <= _PIECE):  # pyright: ignore[reportUnnecessaryIsInstance] (users print anything)
            written = super().write(string)
            self._unsent += written or 0
            return written
        for start in range(0, len(string), _PIECE):
            super().write(string[start : start + _PIECE])
            self.flush()
        return len(string)

    def _flush(self) -> None:
        self._unsent = 0
        super()._flush()

    def settle(self) -> None:
        """Wait until what was written to the descriptor is printed, too."""
        with self._read:
            self._read.wait_for(lambda: self._fid is None or _waiting(self._fid) == 0, _SETTLE_SECONDS)

    def _watch_pipe_fd(self) -> None:
        """Print what programs write to the descriptor: whole characters, large pieces, and no echo."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        assert self._fid is not None
        while True:
            select.select([self._fid], [], [])  # read only under the condition: whoever holds it sees nothing that is read, but not printed
            with self._read:
                data = os.read(self._fid, _PIPE_BYTES)
                if not data or not self._should_watch:
                    return
                self.write(decoder.decode(data))
                self._read.notify_all()


def _waiting(descriptor: int) -> int:
    """Return how many bytes can be read."""
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]
