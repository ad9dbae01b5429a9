"""Too many requests at once are told when to come back (seed 002 §3.3)."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS = 10_000


class RateLimiter:
    """Admits `max_requests` of each caller in any `window_seconds` seconds. `clock` gives seconds that never go back."""

    def __init__(self, max_requests: int = 100, window_seconds: int = 60, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_requests = max_requests
        self.window_seconds = window_seconds
        self.requests: dict[str, deque[float]] = {}
        """When each caller's admitted requests came."""
        self._clock = clock

    def admit(self, caller: str = "") -> float:
        """Count a request of `caller` and return 0, or return in how many seconds it may come again."""
        now = self._clock()
        times = self.requests.get(caller)
        if times is None:
            self._forget(now)
            times = self.requests[caller] = deque()
        while times and now - times[0] >= self.window_seconds:
            times.popleft()
        if len(times) >= self.max_requests:
            return times[0] + self.window_seconds - now if times else self.window_seconds
        times.append(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop callers that have not come for a whole window, once there are many."""
        if len(self.requests) >= _KEYS:
            fresh = {caller: times for caller, times in self.requests.items() if times and now - times[-1] < self.window_seconds}
            self.requests = fresh
