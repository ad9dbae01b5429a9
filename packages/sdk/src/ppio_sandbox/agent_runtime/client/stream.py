"""The answer of a streaming agent: `stream = await session.invoke(…, stream=True)`, or iterated at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

Opening = AsyncGenerator[str | None, None]
"""Yields None once, when the answer has begun, then the chunks."""


class ChunkStream(AsyncIterator[str]):
    """Chunks of text as the agent yields them. Awaiting it sends the call and gives the stream itself; so does iterating.

    Leaving an `async for` early closes the connection, which cancels the agent's work; so do `aclose()` and `async with`. A stream
    that was cut short raises `NetworkError`, an agent that fails in the middle `InvocationError`: the end without either is
    the true end.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._begun = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    def __aiter__(self) -> AsyncIterator[str]:  # noqa: PYI034 (each loop gets an iterator that closes the stream when the loop is left)
        return self._until_left()

    async def __anext__(self) -> str:
        await self._begin()
        chunk = await anext(self._opening)
        assert chunk is not None
        return chunk

    async def aclose(self) -> None:
        """Close the connection, if it is open still."""
        await self._opening.aclose()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _begin(self) -> Self:
        if not self._begun:
            self._begun = True
            await anext(self._opening)
        return self

    async def _until_left(self) -> AsyncGenerator[str, None]:
        """Belong to one loop alone: when that is left, the interpreter closes this generator, and so the stream."""
        try:
            while True:
                try:
                    chunk = await anext(self)
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            await self.aclose()
