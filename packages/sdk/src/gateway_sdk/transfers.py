"""Files on their way: what a form around a file is, how it is read in pieces, and how a download appears whole or not at all."""

from __future__ import annotations

import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway_sdk.exceptions import GatewayError, ServiceUnavailableError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping
    from typing import BinaryIO

BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to be sent, between the `head` and `tail` of its form; `size` bytes, as it was when it was looked at."""

    path: Path
    size: int
    name: str
    content_type: str | None = None
    head: bytes = b""
    tail: bytes = b""
    temporary: bool = False
    progress: Callable[[int, int | None], object] | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.head) + self.size + len(self.tail)

    def open(self) -> BinaryIO:
        """Open the file, for `pieces` or `pieces_async`. Whoever sends closes it: an answer may come before all is sent."""
        return self.path.open("rb")

    def pieces(self, file: BinaryIO) -> Generator[bytes]:
        """Yield the body, reading the file as it goes out."""
        if self.head:
            yield self.head
        left = self.size
        while left:
            block = self._read(file, left)
            left -= len(block)
            yield block
            self._tell(left)
        if self.tail:
            yield self.tail

    async def pieces_async(self, file: BinaryIO) -> AsyncGenerator[bytes]:
        """Yield the same without holding the event loop."""
        import asyncio  # noqa: PLC0415 (synchronous programs do without)

        if self.head:
            yield self.head
        left = self.size
        while left:
            block = await asyncio.to_thread(self._read, file, left)
            left -= len(block)
            yield block
            self._tell(left)
        if self.tail:
            yield self.tail

    def _read(self, file: BinaryIO, left: int) -> bytes:
        block = file.read(min(BLOCK, left))
        if not block:
            raise GatewayError(f"{self.path} became shorter while it was sent", "FILE_CHANGED")
        return block

    def _tell(self, left: int) -> None:
        if self.progress is not None:
            self.progress(self.size - left, self.size)


def permanent(path: str | os.PathLike[str], content_type: str | None, progress: Callable[[int, int | None], object] | None) -> Upload:
    """Return the form that stores a file for good. Raises as `plain`."""
    return form(plain(path, content_type, progress), {}, temporary=False)


def passing(
    path: str | os.PathLike[str],
    ttl: int,
    session_id: str | None,
    content_type: str | None,
    progress: Callable[[int, int | None], object] | None,
) -> Upload:
    """Return the form that stores a file for `ttl` seconds. Raises as `plain`."""
    fields = {"ttl": str(ttl)} | ({} if session_id is None else {"session_id": session_id})
    return form(plain(path, content_type, progress), fields, temporary=True)


def plain(path: str | os.PathLike[str], content_type: str | None, progress: Callable[[int, int | None], object] | None) -> Upload:
    """Return the upload of a file as it is.

    Raises:
        OSError: it cannot be looked at (FileNotFoundError, …), or is no plain file.
    """
    place = Path(path)
    status = place.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{place} is no plain file")
    return Upload(place, status.st_size, place.name, content_type, progress=progress)


def form(upload: Upload, fields: Mapping[str, str], *, temporary: bool) -> Upload:
    """Return the upload as a multipart form with further fields before the file."""
    boundary = secrets.token_hex(16)
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    escaped = upload.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    kind = upload.content_type or "application/octet-stream"
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{escaped}"\r\nContent-Type: {kind}\r\n\r\n',
    )
    return Upload(
        upload.path,
        upload.size,
        upload.name,
        f"multipart/form-data; boundary={boundary}",
        "".join(parts).encode("utf-8", "surrogateescape"),
        f"\r\n--{boundary}--\r\n".encode(),
        temporary,
        upload.progress,
    )


class Arrival:
    """A file that is coming in, beside its place and under another name."""

    def __init__(self, file: BinaryIO, total: int | None, progress: Callable[[int, int | None], object] | None) -> None:
        self._file = file
        self._total = total
        self._progress = progress
        self._came = 0

    def write(self, block: bytes) -> None:
        """Take the next bytes."""
        self._file.write(block)
        self._came += len(block)
        if self._progress is not None:
            self._progress(self._came, self._total)

    def check(self) -> None:
        """Hold what came against what was announced.

        Raises:
            ServiceUnavailableError: it is not all.
        """
        if self._total is not None and self._came != self._total:
            raise ServiceUnavailableError(f"the download ended after {self._came} of {self._total} bytes", "NETWORK")


@contextmanager
def arriving(
    place: str | os.PathLike[str], headers: Mapping[str, str], progress: Callable[[int, int | None], object] | None
) -> Generator[Arrival]:
    """Write to a `.part` file of this download alone, which takes the place's name when the block ends, and goes when it fails.

    Raises:
        OSError: the directory is not there or may not be written to.
    """
    target = Path(place)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory: name the file")
    announced = headers.get("content-length", "")
    part = target.with_name(f"{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            arrival = Arrival(file, int(announced) if announced.isdecimal() else None, progress)
            yield arrival
            arrival.check()
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
