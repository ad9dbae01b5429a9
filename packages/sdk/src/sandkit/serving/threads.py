"""Synchronous user code in threads: the event loop stays free, context variables come along, cancellation is heard.

A thread cannot be stopped from outside. A function whose caller has left runs to its end and its result is dropped; a
generator is closed at its next `yield`, in the thread that has run it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

MAX_THREADS = 64
"""Agents wait for models and tools far more than they compute."""


class Threads:
    """The threads of one server. They start with the first call; `close()` lets running ones end by themselves."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="agent")
        self._abandoned: set[Future[Any]] = set()

    @property
    def abandoned(self) -> int:
        """How many calls go on in their threads though nobody waits for them any more."""
        return len(self._abandoned)

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return what `function` returns, called in a thread with a copy of the caller's context variables."""
        work = self.submit(function, *args, **kwargs)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            self.abandon(work)
            raise

    def iterate(self, generator: Generator[Any, None, Any]) -> ThreadIterator:
        """Return an async iterator over `generator`, which runs in one thread (what it opened there stays usable)."""
        return ThreadIterator(self, generator)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a thread call `function` in a copy of the caller's context variables."""
        return self._executor.submit(copy_context().run, function, *args, **kwargs)

    def abandon(self, work: Future[Any]) -> None:
        """Count `work` among the abandoned until it ends, if it runs."""
        if work.running():
            self._abandoned.add(work)
            work.add_done_callback(self._abandoned.discard)

    def close(self) -> None:
        """Take no more calls."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class ThreadIterator:
    """An async iterator over a generator in a thread: the generator goes on only when the next item is asked for."""

    def __init__(self, threads: Threads, generator: Generator[Any, None, Any]) -> None:
        self._threads = threads
        self._generator = generator
        self._work: Future[Any] | None = None
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._answer: asyncio.Future[Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        self._answer = self._loop.create_future()
        if self._work is None:
            self._work = self._threads.submit(self._run)
        else:
            self._wanted.put(True)
        return await self._answer

    async def aclose(self) -> None:
        """Have the generator closed at its next `yield`; it is not waited for, since it may be blocked for long."""
        if self._over:
            return
        self._over = True
        if self._work is None:
            self._generator.close()
        else:
            self._wanted.put(False)
            if self._answer is not None and self._answer.cancelled():
                self._threads.abandon(self._work)

    def _run(self) -> None:
        try:
            for item in self._generator:
                if not self._deliver(item, None) or not self._wanted.get():
                    self._generator.close()
                    return
        except BaseException as error:  # noqa: BLE001 (all that user code raises is the caller's to judge)
            self._deliver(None, error)
        else:
            self._deliver(None, StopAsyncIteration())

    def _deliver(self, item: Any, error: BaseException | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._settle, item, error)
        except RuntimeError:  # the loop is closed: the server has ended and nobody waits
            return False
        return True

    def _settle(self, item: Any, error: BaseException | None) -> None:
        self._over = self._over or error is not None
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(item)
        else:
            self._answer.set_exception(error)
