"""Uploads to files and files to blobs, in constant memory."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import anyio

from sandkit.wire.errors import STORAGE_FULL, TOO_LARGE, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from pathlib import Path

_CHUNK = 256 * 1024


async def bounded(body: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Pass an upload on, stopping where it exceeds `limit` bytes.

    Raises:
        ApiError: `too_large`.
    """
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > limit:
            raise ApiError(TOO_LARGE, f"The package is larger than {limit // 1024**2} MiB")
        yield chunk


async def spool(body: AsyncIterator[bytes], path: Path, limit: int) -> None:
    """Write an upload to the new file `path`, stopping where it exceeds `limit` bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    async with anyio.wrap_file(os.fdopen(fd, "wb")) as file:
        async for chunk in bounded(body, limit):
            await file.write(chunk)


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield a file's bytes."""
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK):
            yield chunk


@contextlib.contextmanager
def full_disk_is_507() -> Generator[None]:
    """Let a full disk be `storage_full`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ApiError(STORAGE_FULL, "The platform's disk is full; nothing was kept of the package") from error
