"""Answers of registries, which may be as long as whoever sends them likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandyard.work.failures import BuildFailed

if TYPE_CHECKING:
    import aiohttp

CHUNK = 256 * 1024
_DOCUMENT_BYTES = 4 * 1024 * 1024


async def document(reply: aiohttp.ClientResponse) -> bytes:
    """Return a body that is a document.

    Raises:
        BuildFailed: it is larger than any document should be.
    """
    data = bytearray()
    async for chunk in reply.content.iter_chunked(CHUNK):
        data += chunk
        if len(data) > _DOCUMENT_BYTES:
            raise BuildFailed("The registry's answer is larger than any manifest")
    return bytes(data)
