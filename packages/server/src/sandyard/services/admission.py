"""Who may start a sandbox now: places for living ones, and a short queue for starts under way.

One server owns the data directory, so counting in memory is exact; a place is taken before the first `await` of a create.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sandkit.wire.errors import RATE_LIMITED, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


TURN_SECONDS = 10.0


class Admission:
    """Places for `places` living sandboxes; `starting` starts at once, `queue` more may wait for their turn.

    After `turn_seconds` a start goes on without its turn: agents that never listen hold up nobody else's.
    """

    def __init__(self, *, places: int, starting: int, queue: int, turn_seconds: float = TURN_SECONDS) -> None:
        self._places = places
        self._living: set[str] = set()
        self._turn = asyncio.Semaphore(starting)
        self._turn_seconds = turn_seconds
        self._room = starting + queue
        self._crowd = 0
        self._starting: set[str] = set()

    @property
    def starting(self) -> frozenset[str]:
        """The ids whose start this server has under way."""
        return frozenset(self._starting)

    @property
    def places(self) -> int:
        """How many sandboxes may live."""
        return self._places

    @property
    def used(self) -> int:
        """How many of the places are taken."""
        return len(self._living)

    def adopt(self, sandbox_id: str) -> None:
        """Count a sandbox that lives already, whether or not there is a place."""
        self._living.add(sandbox_id)

    def release(self, sandbox_id: str) -> None:
        """Give the place of an ended sandbox back. Idempotent."""
        self._living.discard(sandbox_id)

    @asynccontextmanager
    async def start(self, sandbox_id: str) -> AsyncGenerator[None]:
        """Hold a turn to start; the place stays taken after it, until `release`.

        Raises:
            ApiError: 429 with `retry_after` where there is no place, or the queue is full.
        """
        if len(self._living) >= self._places:
            raise _busy(f"This server holds its {self._places} sandboxes; close one, or try again later", retry_after=5)
        if self._crowd >= self._room:
            raise _busy("Too many sandboxes are being started at this moment; try again", retry_after=1)
        self._living.add(sandbox_id)
        self._starting.add(sandbox_id)
        try:
            async with self._hold_turn():
                yield
        except BaseException:
            self._living.discard(sandbox_id)
            raise
        finally:
            self._starting.discard(sandbox_id)

    @asynccontextmanager
    async def _hold_turn(self) -> AsyncGenerator[None]:
        self._crowd += 1
        held = False

        def hand_on() -> None:
            nonlocal held
            if held:
                held = False
                self._crowd -= 1
                self._turn.release()

        try:
            await self._turn.acquire()
        except BaseException:
            self._crowd -= 1
            raise
        held = True
        timer = asyncio.get_running_loop().call_later(self._turn_seconds, hand_on)
        try:
            yield
        finally:
            timer.cancel()
            hand_on()


def _busy(message: str, *, retry_after: int) -> ApiError:
    return ApiError(RATE_LIMITED, message, details={"retry_after": retry_after})
