"""What a sandbox and its keeper have in common: descriptors, of which neither can do the other harm."""

from __future__ import annotations

import fcntl
import os

ERRORS_SIZE = 16 * 1024


def errors_file() -> int:
    """Return a file in memory, of a size that cannot change, for what launcher and bubblewrap complain of."""
    file = os.memfd_create("errors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, ERRORS_SIZE)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


def pipe() -> tuple[int, int]:
    """Return both ends of a pipe: we never wait at ours, the sandbox does at its own."""
    receiving, sending = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(sending, True)
    return receiving, sending
