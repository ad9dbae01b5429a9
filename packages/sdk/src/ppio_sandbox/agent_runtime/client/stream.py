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
        self._opening: Opening | None = opening
        self._begun = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    def __aiter__(self) -> AsyncIterator[str]:  # noqa: PYI034 (each loop gets an iterator that closes the stream when the loop is left)
        return _Loop(self)

    async def __anext__(self) -> str:
        await self._begin()
        if self._opening is None:
            raise StopAsyncIteration
        chunk = await anext(self._opening)
        assert chunk is not None
        return chunk

    async def aclose(self) -> None:
        """Close the connection, if it is open still."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening.aclose()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _begin(self) -> Self:
        if not self._begun and self._opening is not None:
            self._begun = True
            await anext(self._opening)
        return self

    def let_go(self) -> None:
        """Drop the generator: its event loop closes it. Two generators, one closing the other, would be closed twice at a loop's end."""
        self._opening = None


class _Loop(AsyncIterator[str]):
    """Belongs to one `async for` alone: when that is left, nobody holds it any more, and the stream is let go."""

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream

    async def __anext__(self) -> str:
        return await anext(self._stream)

    def __del__(self) -> None:
        self._stream.let_go()
