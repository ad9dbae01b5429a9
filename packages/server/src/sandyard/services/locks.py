"""One lock per name, gone when nobody holds or waits for it."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Locks:
    """Orders the acts on one thing (a sandbox, an idempotency key) within this server."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        """Return the lock of that name; it lives as long as somebody refers to it."""
        return self._locks.setdefault(name, asyncio.Lock())
