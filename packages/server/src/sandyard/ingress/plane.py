"""What every exchange of one ingress shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from sandyard.catalog import Catalog, Route
    from sandyard.ingress.limits import IngressLimits
    from sandyard.ingress.pool import Pool


class Tasks:
    """Owns the few tasks of the data plane (dialling, asking why a sandbox ended): each ends before `aclose` returns."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True, kw_only=True)
class Plane:
    """`owner_of` and `is_platform_key` take an API key, `internal_token` a route; all three are quick and never wait.

    `wake` resumes a paused sandbox whose route says that traffic may, and returns when its route says that it runs.
    """

    catalog: Catalog
    pool: Pool
    owner_of: Callable[[str], str | None]
    internal_token: Callable[[Route], str]
    is_platform_key: Callable[[str], bool]
    wake: Callable[[str], Awaitable[object]]
    limits: IngressLimits
    tasks: Tasks = field(default_factory=Tasks)
    draining: bool = False
