"""`/ping`: what the agent's own check says, never silently healthy (seed-resolutions 19, 26)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, overload

from pydantic import BaseModel

from ppio_sandbox.agent_runtime.runtime.models import PingStatus
from ppio_sandbox.agent_runtime.runtime.tasks import BackgroundTasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandkit.serving.threads import Threads

logger = logging.getLogger("ppio_sandbox.agent_runtime")

CHECK_SECONDS = 10.0
"""An own check that takes longer has failed."""

UNHEALTHY = "Unhealthy"


class Health:
    """The health of one agent. `check` is the agent's own function, if it has one; `tasks` are what it does in the background.

    A forced status goes before the agent's own word, and that before what the background work says.
    """

    def __init__(self, threads: Callable[[], Threads]) -> None:
        self.check: Callable[[], Any] | None = None
        self.tasks = BackgroundTasks(self._tasks_changed)
        self._threads = threads
        self._forced: PingStatus | None = None
        self._status = PingStatus.HEALTHY.value
        self._changed = int(time.time())

    @overload
    def force(self, status: PingStatus | str) -> PingStatus: ...
    @overload
    def force(self, status: None) -> None: ...
    def force(self, status: PingStatus | str | None) -> PingStatus | None:
        """Have `/ping` say `status` from now on; None: no longer.

        Raises:
            ValueError: it is no status.
        """
        self._forced = None if status is None else PingStatus(status)
        return self._forced

    async def report(self) -> dict[str, Any]:
        """Return the body of `/ping`. It is an answer of an unhealthy agent if `status` is `UNHEALTHY`.

        `time_of_last_update` (Unix seconds) is when the status has changed last, as in the AgentCore contract.
        """
        body = _normalised(await self._told())
        self._note(body["status"])
        return {**body, "timestamp": datetime.now(UTC).isoformat(), "time_of_last_update": self._changed}

    async def _told(self) -> Any:
        if self._forced is not None:
            return self._forced
        own = True if self.check is None else await self._checked(self._threads())
        return self._automatic() if own is True else own

    def _automatic(self) -> PingStatus:
        return PingStatus.HEALTHY_BUSY if self.tasks else PingStatus.HEALTHY

    def _tasks_changed(self) -> None:
        if self.check is None and self._forced is None:
            self._note(self._automatic().value)

    def _note(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._changed = int(time.time())

    async def _checked(self, threads: Threads) -> Any:
        check = self.check
        if check is None:
            return None
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                result = check() if inspect.iscoroutinefunction(check) else await threads.call(check)
                return await result if inspect.isawaitable(result) else result
        except Exception as error:
            logger.exception("the agent's health check failed")
            return {"status": UNHEALTHY, "message": f"{type(error).__name__}: {error}"}


def _normalised(report: Any) -> dict[str, Any]:
    if isinstance(report, BaseModel):
        report = report.model_dump(mode="json", exclude_none=True)
    fields = cast("dict[str, Any]", report) if isinstance(report, dict) else {"status": report}
    word = fields.get("status")
    try:
        return {**fields, "status": PingStatus(word).value}
    except ValueError:
        told = word.value if isinstance(word, PingStatus) else word
        return {"message": f"the health check says {told!r}", **fields, "status": UNHEALTHY}
