"""The link to a platform: heartbeats, and what it asks for in return."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio

from sandkit.http.errors import TransportError
from sandkit.http.messages import Request, UnreadableReplyError, json_request
from sandkit.http.sender import AsyncSender
from sandkit.wire.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentapp.config import PlatformSettings
    from sandkit.http.messages import Reply

logger = logging.getLogger("agentapp")

CALL_SECONDS = 10.0
AGAIN = ("restart", "reload")
"""Both mean the same here: drain, and start anew on the same socket, with the files as they are then."""


class Heartbeat:
    """Tells the platform every `heartbeat_interval` that this instance lives, and asks what it wants. One that is away changes nothing."""

    def __init__(
        self, told: PlatformSettings, instance_id: str, figures: Callable[[], Mapping[str, int]], restart: Callable[[], None]
    ) -> None:
        self._interval = told.heartbeat_interval
        self._base = f"{told.endpoint.rstrip('/')}/instances/{instance_id}"
        self._headers = {"x-api-key": told.api_key.get_secret_value()} if told.api_key else {}
        self._figures = figures
        self._restart = restart
        self._reached = True

    async def run(self) -> None:
        """Beat, until a restart is asked for."""
        sender = AsyncSender()
        try:
            while True:
                if await self._beat(sender) in AGAIN:
                    self._restart()
                    return
                await anyio.sleep(self._interval)
        finally:
            with anyio.CancelScope(shield=True):
                await sender.aclose()

    async def _beat(self, sender: AsyncSender) -> str:
        """Send one heartbeat; return the action that the platform wants."""
        beat = {"status": "healthy", "timestamp": time.time(), "metrics": self._metrics()}
        try:
            await self._asked(sender, json_request("POST", "/heartbeat", beat))
            wanted: Any = (await self._asked(sender, Request("GET", "/config"))).json()
        except (TransportError, UnreadableReplyError, ApiError) as error:
            self._note(str(error))
            return "none"
        self._note("")
        return str(cast("dict[str, Any]", wanted).get("action", "none")) if isinstance(wanted, dict) else "none"

    async def _asked(self, sender: AsyncSender, request: Request) -> Reply:
        reply = await sender.send(request.to(self._base, self._headers), timeout=CALL_SECONDS)
        if not reply.ok:
            raise reply.error()
        return reply

    def _metrics(self) -> dict[str, float]:
        return {**self._figures(), "memory_usage_mb": round(_resident_bytes() / 2**20, 1)}

    def _note(self, trouble: str) -> None:
        """Log when the platform goes away, and when it is back; not each heartbeat between."""
        if trouble and self._reached:
            logger.warning("the platform does not take heartbeats: %s", trouble)
        elif not trouble and not self._reached:
            logger.info("the platform takes heartbeats again")
        self._reached = not trouble


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0
