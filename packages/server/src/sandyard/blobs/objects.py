"""Blobs on obstore: a local directory or memory today, any object store behind the same class."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from sandyard.domain.errors import BlobMissing, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from obstore import GetOptions

CHUNK = 1024 * 1024
"""Bytes that are held at a time, twice at most: one part being written, one being filled."""

_KEY = re.compile(r"(?=.{1,512}\Z)[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class ObjectBlobs:
    """`ports_blobs.Blobs` over an obstore store."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store, chunk: int = CHUNK) -> None:
        self._store = store
        self._chunk = chunk

    @classmethod
    def local(cls, directory: Path) -> ObjectBlobs:
        """Keep blobs as files below `directory`, which is made with mode 0700; what a killed server left half written is removed.

        Raises:
            StoreUnavailable: the directory cannot be made or read.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in directory.rglob("*#*"):  # obstore's staging names; no key of ours has that character
                part.unlink(missing_ok=True)
            return cls(LocalStore(directory))
        except (OSError, BaseError) as error:
            raise unavailable(error) from error

    @classmethod
    def memory(cls) -> ObjectBlobs:
        """Keep blobs in this process: the twin for tests."""
        return cls(MemoryStore())

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store in constant memory; all or nothing. Return the number of bytes.

        What `chunks` raises comes out as it is.

        Raises:
            ValueError: the key is no relative path of letters, digits and `-_./`, or a part of it starts with a dot.
            StoreUnavailable: the disk is full or cannot be written.
        """
        known = checked(key)
        counted = _Counted(chunks)
        try:
            await obstore.put_async(self._store, known, counted, use_multipart=True, chunk_size=self._chunk, max_concurrency=1)
        except (OSError, BaseError) as error:
            if error is counted.raised:
                raise
            raise unavailable(error) from error
        finally:
            await counted.aclose()
        return counted.size

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks, from `start` up to but without `end`.

        Raises:
            ValueError: as `put`.
            BlobMissing: there are none under that key.
            StoreUnavailable: they cannot be read.
        """
        known = checked(key)
        try:
            options: GetOptions = {} if not start and end is None else {"range": {"offset": start} if end is None else (start, end)}
            reply = await obstore.get_async(self._store, known, options=options)
            async for chunk in reply.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise BlobMissing(f"There is no blob {key!r}") from error
        except (OSError, BaseError) as error:
            raise unavailable(error) from error

    async def size(self, key: str) -> int | None:
        """Return how many bytes there are, or None where there are none under that key.

        Raises:
            ValueError: as `put`.
            StoreUnavailable: it cannot be asked.
        """
        try:
            return (await obstore.head_async(self._store, checked(key)))["size"]
        except FileNotFoundError:
            return None
        except (OSError, BaseError) as error:
            raise unavailable(error) from error

    async def delete(self, key: str) -> None:
        """Remove the bytes. No error if there are none."""
        try:
            await obstore.delete_async(self._store, checked(key))
        except FileNotFoundError:
            return
        except (OSError, BaseError) as error:
            raise unavailable(error) from error

    async def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys below `prefix`, in no order.

        Raises:
            ValueError: as `put`.
            StoreUnavailable: they cannot be read.
        """
        try:
            listing = obstore.list(self._store, checked(prefix))  # pyright: ignore[reportUnknownMemberType] (the overload for Arrow, which is not installed)
            listed = await listing.collect_async()
        except (OSError, BaseError) as error:
            raise unavailable(error) from error
        return [entry["path"] for entry in listed]


class _Counted:
    """Passes chunks on, counts their bytes and remembers what the source raised. obstore asks for each chunk in a task of its own."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0
        self.raised: BaseException | None = None
        self._asking: asyncio.Task[Any] | None = None
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise asyncio.CancelledError
        self._asking = asyncio.current_task()
        try:
            chunk = await anext(self._chunks)
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self._asking = None
        self.size += len(chunk)
        return chunk

    async def aclose(self) -> None:
        """End the task that waits for a chunk: obstore leaves it behind when a put is cancelled."""
        self._closed = True
        if self._asking is not None:
            asking = self._asking
            asking.cancel()
            await asyncio.wait([asking])


def checked(key: str) -> str:
    """Return a key of a blob.

    Raises:
        ValueError: it is none.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no blob key")
    return key


def unavailable(error: Exception) -> StoreUnavailable:
    """Return a store's failure as the port's."""
    first_line = str(error).partition("\n")[0]
    return StoreUnavailable(f"The blob store failed: {first_line}. Check the free space and the owner of the data directory.")
