"""A client that leaves cancels what it asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request

T = TypeVar("T")


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; cancel it (and wait for what it cleans up) when the client closes the connection.

    Raises:
        ClientDisconnect: the client left first; nobody reads the answer.
    """
    results: list[T] = []
    failures: list[Exception] = []

    async def run() -> None:
        try:
            results.append(await work)
        except Exception as error:  # noqa: BLE001 (carried out of the task group as it is, not as a group)
            failures.append(error)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise ClientDisconnect
    return results[0]
