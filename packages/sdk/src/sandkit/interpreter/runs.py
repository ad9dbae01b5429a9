"""One execution as its caller reads it: bounded, so that a kernel prints no faster than its caller reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sandkit.interpreter.outputs import END, KEEPALIVE, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

KEEPALIVE_SECONDS = 5.0
_WAITING = 16
"""How many items may wait for the caller; the kernel holds its output back then."""


class Run:
    """The items of one execution on their way to a caller, who may leave at any time: `abandoned` is set then."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue(_WAITING)
        self.abandoned = asyncio.Event()

    async def take(self, item: Mapping[str, Any]) -> None:
        """Pass an item on, when there is room; to nobody where the caller has left."""
        if not self.abandoned.is_set():
            await self._items.put(item)

    def abandon(self) -> None:
        """Nobody reads any more."""
        self.abandoned.set()
        while not self._items.empty():
            self._items.get_nowait()  # whoever waited for room goes on
        self._items.put_nowait(None)

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yield the lines as they come, with a keepalive where nothing has come for five seconds, to the end or until it is abandoned."""
        while not self.abandoned.is_set():
            try:
                async with asyncio.timeout(KEEPALIVE_SECONDS):
                    item = await self._items.get()
            except TimeoutError:
                item = KEEPALIVE
            if item is None:
                return
            yield encode(item)
            if item is END:
                return
