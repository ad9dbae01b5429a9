"""One upload's bytes on their way into the blob store: counted, bounded, reserved in the owner's quota before they are stored."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from sandkit.wire.gateway import PAYLOAD_TOO_LARGE, QUOTA_EXCEEDED, REQUEST_TIMEOUT, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sandyard.domain.files import File
    from sandyard.ports import Clock
    from sandyard.ports_accounting import FileRows

BELOW = "kept/"
"""What the keys of files' bytes begin with in the blob store."""
UPLOAD_SECONDS = 900
"""How long an upload may begin after it was offered."""
STEP = 32 * 1024 * 1024
"""Bytes that are reserved ahead."""
KEPT_SECONDS = 3600.0
"""How long the row of an upload is safe from the sweeper after its last reservation."""
_CHUNK_SECONDS = 60.0


class Upload:
    """The bytes of one file; `chunks` may be read once."""

    def __init__(self, file: File, source: AsyncIterator[bytes], rows: FileRows, clock: Clock, *, largest: int, stored: int) -> None:
        self._file = file
        self._source = source
        self._rows = rows
        self._clock = clock
        self._largest = largest
        self._stored = stored
        self._reserved = 0
        self.size = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield what comes, as long as there is room.

        Raises:
            Refusal: PAYLOAD_TOO_LARGE, QUOTA_EXCEEDED, REQUEST_TIMEOUT.
        """
        async with aclosing(cast("AsyncGenerator[bytes]", self._source)) as source:
            while True:
                try:
                    async with asyncio.timeout(_CHUNK_SECONDS):
                        chunk = await anext(source, None)
                except TimeoutError:
                    raise Refusal(REQUEST_TIMEOUT, f"Nothing arrived for {_CHUNK_SECONDS:.0f} seconds") from None
                if chunk is None:
                    return
                self.size += len(chunk)
                if self.size > self._largest:
                    raise too_large(self._largest)
                if self.size > self._reserved:
                    await self._reserve()
                yield chunk

    async def _reserve(self) -> None:
        """Reserve a step more, or at least what is here."""
        until = self._clock.now() + KEPT_SECONDS
        ahead = min(self._reserved + max(STEP, self.size - self._reserved), max(self._largest, self.size))
        for wanted in (ahead, self.size):
            done, used = await self._rows.grow(self._file.key, wanted, self._stored, until)
            if done:
                self._reserved = wanted
                return
        raise no_room(self._stored, used)  # pyright: ignore[reportPossiblyUnboundVariable]


def too_large(limit: int) -> Refusal:
    """Return the refusal of a file that is larger than `limit` bytes."""
    return Refusal(PAYLOAD_TOO_LARGE, f"The file is larger than {limit} bytes", limit=limit)


def no_room(limit: int, used: int) -> Refusal:
    """Return the refusal of what would be more than a tenant may store, in bytes."""
    message = f"The files would be more than the {limit} bytes that may be stored"
    return Refusal(QUOTA_EXCEEDED, message, limit=limit, used=used, quota_type="stored_bytes", reset_at=None)
