"""`/mcp`, until somebody asks for it: the package that it stands on takes a second to import, for which no server's start shall wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from sandkit.wire.gateway import UNAVAILABLE, Refusal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sandyard.web.gateway.mcp import Tools
    from sandyard.web.gateway.parts import GatewayParts

PATHS = ("/mcp", "/mcp/{alias}")
_START_SECONDS = 30.0


class LateTools:
    """`mcp.Tools`, made at the first request. `run` must run as long as it is asked."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._wanted = anyio.Event()
        self._ready = anyio.Event()
        self._tools: Tools | None = None

    async def run(self) -> None:
        """Own the requests that are under way, until cancelled."""
        await self._wanted.wait()
        self._tools = tools = await to_thread.run_sync(_made, self._parts)
        async with tools.running():
            self._ready.set()
            await anyio.sleep_forever()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._wanted.set()
        with anyio.move_on_after(_START_SECONDS):
            await self._ready.wait()
        if self._tools is None or not self._ready.is_set():
            raise Refusal(UNAVAILABLE, "The server has not started yet", retry_after=1)
        await self._tools(scope, receive, send)


def _made(parts: GatewayParts) -> Tools:
    from sandyard.web.gateway.mcp import Tools  # noqa: PLC0415 (that is the point)

    return Tools(parts)
