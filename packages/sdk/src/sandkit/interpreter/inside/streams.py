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
_PART_SECONDS = 0.05
"""How much longer a line that has no end yet waits for it: `print` writes the end by itself."""
_SETTLE_SECONDS = 1.0


class Stream(OutStream):
    """ipykernel's, with the output of programs that write to the descriptors themselves told before the execution is over."""

    flush_interval = 0.005  # seconds: lines that come together go together, and nobody notices the wait
    flush_timeout = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] (whoever prints waits for whoever reads)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unsent = 0
        self._line_open = False
        self._read = threading.Condition()
        super().__init__(*args, **kwargs)

    def write(self, string: str) -> int | None:
        """Print, in pieces; wait where too much is unsent."""
        if not isinstance(string, str):  # pyright: ignore[reportUnnecessaryIsInstance] (users print anything)
            return super().write(string)  # which says what is wrong
        if len(string) <= _PIECE and self._unsent + len(string) <= _PIECE:
            self._line_open = not string.endswith("\n")
            written = super().write(string)
            self._unsent += written or 0
            return written
        for start in range(0, len(string), _PIECE):
            super().write(string[start : start + _PIECE])
            self.flush()
        return len(string)

    def _schedule_flush(self) -> None:
        if not self._flush_pending and self.pub_thread is not None:
            self._flush_pending = True
            self.pub_thread.schedule(lambda: self._io_loop.call_later(self.flush_interval, self._flush_lines))

    def _flush_lines(self) -> None:
        if self._line_open:
            self._io_loop.call_later(_PART_SECONDS, self._flush)
        else:
            self._flush()

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
