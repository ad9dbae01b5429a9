"""Tasks that outlive who begins them: owned by a loop of the server, and none is begun once that loop ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

T = TypeVar("T")


class Owned:
    """A task group that is there as long as its `open` block runs."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Own tasks until the block ends, which cancels them."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T] | None:
        """Begin a task; None where the owner is ending, and the work is not begun."""
        try:
            if self._group is not None:
                return self._group.create_task(work)
        except RuntimeError:  # the group has been cancelled, and its block does not know yet
            pass
        work.close()
        return None
