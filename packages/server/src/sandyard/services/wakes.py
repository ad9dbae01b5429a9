"""Wake those who wait for news of something, without their looking again and again."""

from __future__ import annotations

import asyncio


class Wakes:
    """News by name. Take the event *before* reading the rows, wait for it after: nothing that came between is missed."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._closed = False

    def event(self, name: str) -> asyncio.Event:
        """Return the event that the next `wake` of that name sets."""
        return self._events.setdefault(name, asyncio.Event())

    @property
    def closed(self) -> bool:
        """Whether there will be no more news: the server is ending."""
        return self._closed

    def close(self) -> None:
        """Wake everyone for the last time."""
        self._closed = True
        for name in list(self._events):
            self.wake(name)

    def wake(self, name: str) -> None:
        """Tell everyone who took the event of that name."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()
