"""Hands each ended sandbox to the one who waits for it: a build to its builder, all others to the lifecycle."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from sandyard.domain.specs import Exited
    from sandyard.ports import Supervision


class Exits:
    """The one consumer of `Supervision.exits()`."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._watched: dict[str, asyncio.Future[Exited]] = {}

    @property
    def watched(self) -> frozenset[str]:
        """The ids that somebody waits for; the reconcile loop leaves them alone."""
        return frozenset(self._watched)

    @contextmanager
    def watch(self, sandbox_id: str) -> Generator[asyncio.Future[Exited]]:
        """Yield a future of that sandbox's end. Enter before the start: a short command may end before `start` returns."""
        future: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()
        self._watched[sandbox_id] = future
        try:
            yield future
        finally:
            del self._watched[sandbox_id]
            future.cancel()

    async def run(self, otherwise: Callable[[Exited], Awaitable[None]]) -> None:
        """Consume for ever; `otherwise` must not raise."""
        async for exited in self._supervision.exits():
            future = self._watched.get(exited.sandbox_id)
            if future is None:
                await otherwise(exited)
            elif not future.done():
                future.set_result(exited)
