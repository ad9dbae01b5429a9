"""Sandboxes that ended by themselves: each is told once, in order, and remembered for those who ask later."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandyard.domain.specs import Exited

KEPT = 1024


class Ends:
    """What stands behind `Supervision.exits` and `Supervision.ended`; the last `KEPT` ends are remembered."""

    def __init__(self) -> None:
        self._untold: asyncio.Queue[Exited] = asyncio.Queue()
        self._last: OrderedDict[str, Exited] = OrderedDict()

    def put(self, exited: Exited) -> None:
        """Note an end: call it no later than the sandbox vanishes from the back end's list."""
        self._untold.put_nowait(exited)
        self._last[exited.sandbox_id] = exited
        while len(self._last) > KEPT:
            self._last.popitem(last=False)

    def forget(self, sandbox_id: str) -> None:
        """Forget how a sandbox ended: it is being started again."""
        self._last.pop(sandbox_id, None)

    def get(self, sandbox_id: str) -> Exited | None:
        return self._last.get(sandbox_id)

    async def told(self) -> AsyncIterator[Exited]:
        """Yield each end for ever. One consumer."""
        while True:
            yield await self._untold.get()
