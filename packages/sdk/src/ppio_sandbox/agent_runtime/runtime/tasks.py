"""Work that goes on behind an agent's answers: while there is some, the agent is busy (the AgentCore container contract, 5.5)."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class BackgroundTasks:
    """The tracked work of one agent; usable from any thread. `changed` is called when the first begins and the last ends."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._running: dict[int, tuple[str, float, dict[str, Any] | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._running)

    def add(self, name: str, metadata: dict[str, Any] | None = None) -> int:
        """Begin to track work, and return its number."""
        with self._lock:
            number = next(self._numbers)
            self._running[number] = (name, time.monotonic(), metadata)
        self._changed()
        return number

    def complete(self, number: int) -> bool:
        """Track it no more; False if there is no such work."""
        with self._lock:
            known = self._running.pop(number, None) is not None
        self._changed()
        return known

    def info(self) -> dict[str, Any]:
        """Return `{"active_count", "running_jobs": [{"name", "duration", "metadata"?}]}`, durations in seconds."""
        now = time.monotonic()
        with self._lock:
            running = list(self._running.values())
        jobs = [
            {"name": name, "duration": now - began} | ({} if metadata is None else {"metadata": metadata})
            for name, began, metadata in running
        ]
        return {"active_count": len(jobs), "running_jobs": jobs}

    def tracked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, whose calls are tracked while they run.

        Raises:
            ValueError: it is not async.
        """
        if not inspect.iscoroutinefunction(function):
            raise ValueError(f"@async_task takes async functions, and {getattr(function, '__name__', function)!r} is none")

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            number = self.add(function.__name__)
            try:
                return await function(*args, **kwargs)
            finally:
                self.complete(number)

        return call
