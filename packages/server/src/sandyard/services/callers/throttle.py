"""Counts what failed, by address: who guesses is slowed down, who knows is not."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandyard.ports import Clock

_WINDOW = 60.0
_REMEMBERED = 10_000


class Throttle:
    """At most `limit` failures of one address in a minute. Bounded: the addresses that failed longest ago are forgotten first."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return for how many seconds the address may not fail again; 0 where it may."""
        since, count = self._failures.get(address, (0.0, 0))
        left = since + _WINDOW - self._clock.now()
        return left if count >= self._limit and left > 0 else 0.0

    def failed(self, address: str) -> None:
        """Note a failure."""
        now = self._clock.now()
        since, count = self._failures.pop(address, (now, 0))
        self._failures[address] = (since, count + 1) if now < since + _WINDOW else (now, 1)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
