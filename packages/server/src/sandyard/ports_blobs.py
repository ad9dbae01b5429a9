"""The ports of bytes by key: where they lie, and by which addresses others reach them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sandyard.domain.files import Address


class Blobs(Protocol):
    """Bytes by key; a key is a relative path of letters, digits, `-_./`."""

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store in constant memory; all or nothing. Return the number of bytes."""
        ...

    def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks, from `start` up to but without `end`."""
        ...

    async def size(self, key: str) -> int | None:
        """Return how many bytes there are, or None where there are none under that key."""
        ...

    async def delete(self, key: str) -> None: ...

    async def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys below `prefix`, a whole first part or more of them, in no order."""
        ...


class BlobAddresses(Protocol):
    """Addresses of blobs that whoever has them can use by HTTP, past this server."""

    def to_get(self, key: str, seconds: int, *, media: str, name: str) -> str:
        """Return an address that gives the bytes under `key` for so long, as an attachment of that name and type."""
        ...

    async def to_put(self, key: str, seconds: int, *, media: str | None, size: int) -> Address | None:
        """Return an address that takes exactly `size` bytes (of that type, if one is named), unless something lies there; None where
        the store cannot hold a client to that.
        """
        ...
