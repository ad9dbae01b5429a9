"""What lies in a volume, for the event loop: `VolumeFiles` in threads, and bytes in constant memory."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from sandyard.services.volumes import places

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from sandyard.domain.volumes import Entry
    from sandyard.services.volumes.files import Attributes, VolumeFiles

T = TypeVar("T")

_CHUNK = 256 * 1024


class Content:
    """The verbs of `VolumeFiles`, which raise as they do."""

    def __init__(self, files: VolumeFiles) -> None:
        self._files = files

    async def look(self, path: str) -> Entry:
        """Return what is at `path`."""
        return await _do(self._files.look, path)

    async def list(self, path: str, depth: int) -> Sequence[Entry]:
        """Return what lies in a directory, `depth` levels deep."""
        return await _do(self._files.list, path, depth)

    async def make(self, path: str, wanted: Attributes, *, force: bool) -> Entry:
        """Make a directory."""
        return await _do(partial(self._files.make, force=force), path, wanted)

    async def change(self, path: str, wanted: Attributes) -> Entry:
        """Give an entry another owner or mode."""
        return await _do(self._files.change, path, wanted)

    async def remove(self, path: str) -> None:
        """Remove a file or a directory with all in it."""
        await _do(self._files.remove, path)

    async def read(self, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """Return the size of a file and its bytes; they must be asked for, or the file stays open."""
        fd, size = await _do(self._files.read, path)
        return size, _bytes(fd, size)

    async def write(self, path: str, body: AsyncIterator[bytes], wanted: Attributes, *, force: bool | None) -> Entry:
        """Put what `body` yields at `path`; it appears there whole, or not at all. See `VolumeFiles.place` for `force`."""
        await _do(partial(self._files.check, force=force), path, wanted)
        fd, draft = await _do(self._files.draft)
        try:
            with places.told(path):
                await _fill(fd, body)
            return await _do(partial(self._files.place, force=force), draft, fd, path, wanted)
        finally:
            os.close(fd)
            with anyio.CancelScope(shield=True):
                await _do(_forget, draft)


async def _do(act: Callable[..., T], *given: object) -> T:
    return await anyio.to_thread.run_sync(act, *given)


def _forget(draft: Path) -> None:
    draft.unlink(missing_ok=True)


async def _fill(fd: int, body: AsyncIterator[bytes]) -> None:
    held = bytearray()
    async for chunk in body:
        held += chunk
        if len(held) >= _CHUNK:
            await _do(_write, fd, bytes(held))
            held.clear()
    await _do(_write, fd, bytes(held))


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


async def _bytes(fd: int, size: int) -> AsyncIterator[bytes]:
    """Yield exactly `size` bytes; a file that became shorter meanwhile breaks the answer off."""
    try:
        left = size
        while left:
            chunk = await _do(os.read, fd, min(left, _CHUNK))
            if not chunk:
                raise EOFError("the file became shorter while it was read")
            left -= len(chunk)
            yield chunk
    finally:
        os.close(fd)
