"""The proof that ships with the blobs' port, as cases that take an empty store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandyard.domain.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from sandyard.ports_blobs import Blobs

CASE_SECONDS = 30.0
GOOD_KEYS = ("a", "packages/b0.tar.gz", "A-b_c.9/x", "_/-")
BAD_KEYS = ("", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/.", ".a", "a b", "a\n", "a%2e", "ä", "a\\b", "a#1", "x" * 513)

CASES: dict[str, Callable[[Blobs], Awaitable[None]]] = {}


def _case(run: Callable[[Blobs], Awaitable[None]]) -> Callable[[Blobs], Awaitable[None]]:
    CASES[run.__name__] = run
    return run


async def run_case(case: Callable[[Blobs], Awaitable[None]], blobs: Blobs) -> None:
    """Run a case on an empty store within its time."""
    async with asyncio.timeout(CASE_SECONDS):
        await case(blobs)


async def stream(chunks: Iterable[bytes], error: Exception | None = None) -> AsyncIterator[bytes]:
    """Yield the chunks, then raise `error` if there is one."""
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


async def content(blobs: Blobs, key: str) -> bytes | None:
    """Return the bytes, or None where there are none."""
    try:
        return b"".join([chunk async for chunk in blobs.get(key)])
    except BlobMissing:
        return None


@_case
async def bytes_come_back_as_they_were(blobs: Blobs) -> None:
    for key in GOOD_KEYS:
        assert await content(blobs, key) is None
        assert await blobs.put(key, stream([b"one ", b"", b"two"])) == 7
        assert await content(blobs, key) == b"one two"


@_case
async def nothing_is_a_blob_too(blobs: Blobs) -> None:
    assert await blobs.put("empty", stream([])) == 0
    assert await content(blobs, "empty") == b""


@_case
async def large_blobs_come_back_as_they_were(blobs: Blobs) -> None:
    piece = bytes(range(256)) * 4096
    assert await blobs.put("large", stream([piece] * 9 + [b"end"])) == 9 * len(piece) + 3
    assert await content(blobs, "large") == piece * 9 + b"end"


@_case
async def sizes_are_known(blobs: Blobs) -> None:
    assert await blobs.size("a") is None
    for whole in (b"", b"four"):
        await blobs.put("a", stream([whole]))
        assert await blobs.size("a") == len(whole)
    await blobs.delete("a")
    assert await blobs.size("a") is None


@_case
async def a_part_comes_back(blobs: Blobs) -> None:
    piece = bytes(range(256)) * 8192
    await blobs.put("a", stream([piece, piece]))
    whole = piece * 2
    for start, end in ((0, 1), (5, 9), (1, len(whole)), (len(piece) - 3, len(piece) + 3), (0, None), (len(whole) - 7, None)):
        assert b"".join([chunk async for chunk in blobs.get("a", start, end)]) == whole[start:end]


@_case
async def a_put_replaces(blobs: Blobs) -> None:
    await blobs.put("a", stream([b"long before"]))
    await blobs.put("a", stream([b"after"]))
    assert await content(blobs, "a") == b"after"


@_case
async def a_put_that_fails_leaves_what_was_there(blobs: Blobs) -> None:
    await blobs.put("old", stream([b"old"]))
    for key, expected in (("old", b"old"), ("new", None)):
        # An OSError of the source must come out as it is, too: it is not the store's.
        for error in (ValueError("the sender left"), OSError("the sender left")):
            for pieces in (0, 1, 9):
                await _raises(error, blobs.put(key, stream([b"x" * 1_000_000] * pieces, error)))
                assert await content(blobs, key) == expected


@_case
async def a_put_that_is_cancelled_leaves_what_was_there(blobs: Blobs) -> None:
    stuck = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1_000_000
        stuck.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(blobs.put("a", endless()))
    await stuck.wait()
    putting.cancel()
    await asyncio.wait({putting})
    assert putting.cancelled()
    assert await content(blobs, "a") is None


@_case
async def puts_that_race_leave_one_of_them(blobs: Blobs) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(10)]
    await asyncio.gather(*(blobs.put("a", stream([body[:1000], body[1000:]])) for body in bodies))
    assert await content(blobs, "a") in bodies


@_case
async def deleting_may_be_repeated(blobs: Blobs) -> None:
    await blobs.put("a/b", stream([b"x"]))
    for _ in range(2):
        await blobs.delete("a/b")
        assert await content(blobs, "a/b") is None


@_case
async def keys_are_listed_below_a_prefix(blobs: Blobs) -> None:
    assert list(await blobs.keys("a")) == []
    for key in ("a/b", "a/c/d", "ab/c", "b"):
        await blobs.put(key, stream([b"x"]))
    assert sorted(await blobs.keys("a")) == ["a/b", "a/c/d"]
    await blobs.delete("a/b")
    assert list(await blobs.keys("a")) == ["a/c/d"]


@_case
async def keys_that_are_no_keys_are_refused(blobs: Blobs) -> None:
    for key in BAD_KEYS:
        for verb in (blobs.put(key, stream([b"x"])), content(blobs, key), blobs.size(key), blobs.delete(key), blobs.keys(key)):
            await _raises(ValueError, verb)


async def _raises(error: Exception | type[Exception], verb: Awaitable[object]) -> None:
    try:
        await verb
    except Exception as raised:
        if raised is error or (isinstance(error, type) and isinstance(raised, error)):
            return
        raise AssertionError(f"{raised!r} instead of {error!r}") from raised
    raise AssertionError(f"no {error!r} was raised")
