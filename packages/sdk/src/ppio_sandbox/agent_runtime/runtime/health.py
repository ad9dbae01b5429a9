"""`/ping`: what the agent's own check says, never silently healthy (seed-resolutions 19, 26)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from ppio_sandbox.agent_runtime.runtime.models import PingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandkit.serving.threads import Threads

logger = logging.getLogger("ppio_sandbox.agent_runtime")

CHECK_SECONDS = 10.0
"""An own check that takes longer has failed."""

UNHEALTHY = "Unhealthy"


class Health:
    """The health of one agent. `check` is the agent's own function, if it has one."""

    def __init__(self) -> None:
        self.check: Callable[[], Any] | None = None
        self._status = PingStatus.HEALTHY.value
        self._changed = int(time.time())

    async def report(self, threads: Threads) -> dict[str, Any]:
        """Return the body of `/ping`. It is an answer of an unhealthy agent if `status` is `UNHEALTHY`.

        `time_of_last_update` (Unix seconds) is when the status has changed last, as in the AgentCore contract.
        """
        report = PingStatus.HEALTHY.value if self.check is None else await self._checked(threads)
        body = _normalised(report)
        if body["status"] != self._status:
            self._status = body["status"]
            self._changed = int(time.time())
        return {**body, "timestamp": datetime.now(UTC).isoformat(), "time_of_last_update": self._changed}

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
    if report is True:
        report = PingStatus.HEALTHY
    fields = cast("dict[str, Any]", report) if isinstance(report, dict) else {"status": report}
    word = fields.get("status")
    try:
        return {**fields, "status": PingStatus(word).value}
    except ValueError:
        told = word.value if isinstance(word, PingStatus) else word
        return {"message": f"the health check says {told!r}", **fields, "status": UNHEALTHY}
