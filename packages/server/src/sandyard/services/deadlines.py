"""What is due when: a heap of times and an event, so that nothing is looked at before its time."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sandyard.ports import Clock


class Deadlines:
    """One time (Unix seconds) per name; the last one that was set counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._changed = asyncio.Event()

    def put(self, name: str, at: float) -> None:
        """Set or move a deadline."""
        self._times[name] = at
        heapq.heappush(self._heap, (at, name))
        self._changed.set()

    def drop(self, name: str) -> None:
        """Forget a deadline; its entry in the heap is passed over when its time comes."""
        self._times.pop(name, None)

    async def run(self, due: Callable[[str], Coroutine[object, object, None]]) -> None:
        """Call `due(name)` at each deadline, for ever; calls may overlap and must not raise."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed.clear()
                for name in self._take_due():
                    tasks.start_soon(due, name)
                with anyio.move_on_after(self._delay()):
                    await self._changed.wait()

    def _take_due(self) -> list[str]:
        names: list[str] = []
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._times.get(name) == at:
                del self._times[name]
                names.append(name)
        return names

    def _delay(self) -> float:
        return max(0.0, self._heap[0][0] - self._clock.now()) if self._heap else float("inf")
