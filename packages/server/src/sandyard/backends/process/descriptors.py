"""What a sandbox and its keeper have in common: descriptors, of which neither can do the other harm."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from sandkit.guest import output

from .protocol import memory_file

if TYPE_CHECKING:
    from pathlib import Path

ERRORS_SIZE = 16 * 1024


class Ends:
    """Both ends of it: `theirs` become 0, 1, 2, … of the sandbox's program; `errors`, `status` and `info` are ours to read."""

    def __init__(self, printed: Path, program: bytes, config: int) -> None:
        """Make the file `printed` for the output; `program` is the system-call filter, `config` a descriptor that stays the caller's.

        Raises:
            OSError: the disk is full, or there are too many descriptors; nothing is left open.
        """
        with contextlib.ExitStack() as opened:

            def keep(fd: int) -> int:
                opened.callback(os.close, fd)
                return fd

            nothing = keep(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            self.errors = keep(_errors_file())
            file = keep(output.create(printed))
            filter_ = keep(memory_file("filter", program))
            (self.status, status_in), (self.info, info_in) = (tuple(map(keep, _pipe())) for _ in range(2))
            self.theirs = (nothing, nothing, self.errors, config, file, status_in, filter_, info_in)
            self._handed = (nothing, file, status_in, filter_, info_in)
            opened.pop_all()

    def hand_over(self) -> None:
        """Close what the sandbox has by now."""
        for fd in self._handed:
            os.close(fd)


def _errors_file() -> int:
    """Return a file in memory, of a size that cannot change, for what launcher and bubblewrap complain of."""
    file = os.memfd_create("errors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, ERRORS_SIZE)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe: we never wait at ours, the sandbox does at its own."""
    receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(sending, True)
    return receiving, sending
