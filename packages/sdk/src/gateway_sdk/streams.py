"""The answer of a streaming call: iterate it. Leaving the loop, by whichever way, closes the connection, which cancels the call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Self

from gateway_sdk.models import StreamEvent

if TYPE_CHECKING:
    from types import TracebackType


class EventStream(Iterator[StreamEvent]):
    """Events as the function yields them; the last one is `done` or `error`. The call is sent when the first one is asked for.

    Refusals raise as they do without streaming; a stream that is cut off raises `ServiceUnavailableError`. `close()` and `with` end it
    early, and so does leaving a `for`.
    """

    def __init__(self, events: Generator[StreamEvent]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[StreamEvent]:  # noqa: PYI034 (each loop gets an iterator that closes the stream when the loop is left)
        return _Loop(self)

    def __next__(self) -> StreamEvent:
        return next(self._events)

    def close(self) -> None:
        """Close the connection, if it is open still."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Loop(Iterator[StreamEvent]):
    """Belongs to one `for` alone: when that is left, nobody holds it any more."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def __next__(self) -> StreamEvent:
        return next(self._stream)

    def __del__(self) -> None:
        self._stream.close()


class AsyncEventStream(AsyncIterator[StreamEvent]):
    """The same for `async for`. Awaiting it gives itself, so that `await client.run(…, stream=True)` works too."""

    def __init__(self, events: AsyncGenerator[StreamEvent]) -> None:
        self._events: AsyncGenerator[StreamEvent] | None = events

    def __await__(self) -> Generator[Any, None, Self]:
        return self._itself().__await__()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:  # noqa: PYI034 (as EventStream.__iter__)
        return _AsyncLoop(self)

    async def __anext__(self) -> StreamEvent:
        if self._events is None:
            raise StopAsyncIteration
        return await anext(self._events)

    async def aclose(self) -> None:
        """Close the connection, if it is open still."""
        events, self._events = self._events, None
        if events is not None:
            await events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _itself(self) -> Self:
        return self

    def let_go(self) -> None:
        """Drop the generator: its event loop closes it."""
        self._events = None


class _AsyncLoop(AsyncIterator[StreamEvent]):
    """Belongs to one `async for` alone: when that is left, the generator is let go, and its loop closes it."""

    def __init__(self, stream: AsyncEventStream) -> None:
        self._stream = stream

    async def __anext__(self) -> StreamEvent:
        return await anext(self._stream)

    def __del__(self) -> None:
        self._stream.let_go()
