"""The keeper's event loop: readable and writable descriptors, and times. One thread, no tasks, a few callbacks."""

from __future__ import annotations

import heapq
import itertools
import selectors
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Runs callbacks until `stop`. What a callback raises is logged and the loop goes on: sandboxes hang on it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running = True

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back each time `fd` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, (callback, None))

    def watch_write(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call back also when `fd`, which is watched, is writable; None ends that."""
        key = self._selector.get_key(fd)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if callback else 0)
        self._selector.modify(fd, events, (key.data[0], callback))

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), callback))

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        while self._running:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, events in self._selector.select(timeout):
                readable, writable = key.data
                if events & selectors.EVENT_READ and self._selector.get_map().get(key.fd) is not None:
                    _guarded(readable)
                if events & selectors.EVENT_WRITE and writable and self._selector.get_map().get(key.fd) is not None:
                    _guarded(writable)
            while self._timers and self._timers[0][0] <= time.monotonic():
                _guarded(heapq.heappop(self._timers)[2])


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 (one sandbox's trouble must not end the others)
        traceback.print_exc(file=sys.stderr)
