"""The output file of a sandbox: the last bytes that its command printed, and how it ended.

A regular file of fixed size on the host, outside of the sandbox's sight. The guest writes it through a descriptor; the host reads
it while the sandbox lives and after. The guest runs under the sandbox's uid, so the reader trusts nothing that it finds:
each read is bounded, and whatever stands in the file is an answer, never an error.

    0     magic, then the number of bytes ever printed (u64)
    64    the report: kind (0 none, 1 exited, 2 killed by a signal), its number, the length of a sentence, the sentence
    1024  the ring: byte n of the output stands at n modulo RING

All numbers are little-endian. The ring holds more than KEPT, so that what a reader copies is not overwritten under its eyes:
the writer stores the bytes first, at most CHUNK at a time, and then the number.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # the guest does not pay for importing typing
    from pathlib import Path

    OutputFile = int | str | Path

KEPT = 256 * 1024
CHUNK = 64 * 1024
RING = KEPT + CHUNK
_RING_AT = 1024
SIZE = _RING_AT + RING

_MAGIC = b"SANDOUT1"
_HEAD = struct.Struct("<8sQ")
_REPORT = struct.Struct("<BBH")
_REPORT_AT = 64
_SENTENCE_LIMIT = _RING_AT - _REPORT_AT - _REPORT.size
_EXITED, _KILLED = 1, 2


def create(path: str | Path) -> int:
    """Make the file, with its whole size on the disk, and return a descriptor of it (close-on-exec, the owner's alone).

    Raises:
        OSError: it exists already, or the disk is full.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except OSError:
        os.close(fd)
        os.unlink(path)  # noqa: PTH108 (the guest imports this module, and pathlib takes 6 ms)
        raise
    return fd


class Writer:
    """The guest's side. `fd` is open for reading and writing; what was written before is continued."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._total = _total(fd)
        os.pwrite(fd, _HEAD.pack(_MAGIC, self._total), 0)

    def write(self, data: bytes) -> None:
        """Append `data`. A full disk under the file loses bytes, not the sandbox."""
        view = memoryview(data)
        while view:
            at = self._total % RING
            piece = view[: min(CHUNK, RING - at)]
            try:
                os.pwrite(self._fd, piece, _RING_AT + at)
            except OSError:
                return
            self._total += len(piece)
            os.pwrite(self._fd, _HEAD.pack(_MAGIC, self._total), 0)
            view = view[len(piece) :]

    def exited(self, code: int, sentence: str = "") -> None:
        """Report that the command ended by itself with `code` (0-255), or in a sentence why it never ran."""
        self._report(_EXITED, code, sentence)

    def killed(self, signal: int) -> None:
        """Report that `signal` ended the command."""
        self._report(_KILLED, signal, "")

    def _report(self, kind: int, number: int, sentence: str) -> None:
        text = sentence.encode()[:_SENTENCE_LIMIT]
        os.pwrite(self._fd, _REPORT.pack(kind, number & 0xFF, len(text)) + text, _REPORT_AT)


def read(file: OutputFile, offset: int = 0) -> tuple[bytes, int]:
    """Return what was printed from `offset` on, and the offset to ask for next.

    What is older than the last KEPT bytes is gone: then the answer starts later than asked. An offset beyond the end (the file is
    another one now) is answered with nothing and the true end. `file` is a path or a descriptor.

    Raises:
        OSError: there is no such file.
    """
    fd, owned = _opened(file)
    try:
        end = _total(fd)
        start = max(0, offset, end - KEPT)
        data = _ring(fd, start, end - start) if start < end else b""
        overtaken = _total(fd) - KEPT - start  # the writer went round while we read
        return (data[overtaken:] if overtaken > 0 else data), end
    finally:
        if owned:
            os.close(fd)


def tail(file: OutputFile, count: int = 8192) -> bytes:
    """Return the last `count` bytes that were printed, without the first, cut line where there is more than one.

    Raises:
        OSError: there is no such file.
    """
    data, _ = read(file)
    if len(data) <= count:
        return data
    cut = data[-count:]
    _, newline, rest = cut.partition(b"\n")
    return rest if newline and rest else cut


def report(file: OutputFile) -> dict[str, int | str | None] | None:
    """Return `{"code": int|None, "signal": int|None, "error": str}`, or None while the command runs (or was cut off with its guest).

    Raises:
        OSError: there is no such file.
    """
    fd, owned = _opened(file)
    try:
        area = os.pread(fd, _RING_AT - _REPORT_AT, _REPORT_AT)
        if len(area) < _REPORT.size or os.pread(fd, len(_MAGIC), 0) != _MAGIC:
            return None
    finally:
        if owned:
            os.close(fd)
    kind, number, length = _REPORT.unpack_from(area)
    if kind not in (_EXITED, _KILLED):
        return None
    sentence = area[_REPORT.size : _REPORT.size + length].decode(errors="replace")
    return {"code": number if kind == _EXITED else None, "signal": number if kind == _KILLED else None, "error": sentence}


def _opened(file: OutputFile) -> tuple[int, bool]:
    if isinstance(file, int):
        return file, False
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), True


def _total(fd: int) -> int:
    head = os.pread(fd, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        return 0
    magic, total = _HEAD.unpack(head)
    return total if magic == _MAGIC else 0


def _ring(fd: int, start: int, count: int) -> bytes:
    at = start % RING
    first = os.pread(fd, min(count, RING - at), _RING_AT + at)
    return first + os.pread(fd, count - len(first), _RING_AT) if len(first) < count else first
