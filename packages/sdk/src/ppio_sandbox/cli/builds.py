"""Following a build's log to its end, over connections that may break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.client import faults
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError, NetworkError
from sandkit.http import templates
from sandkit.wire.sse import Decoder
from sandkit.wire.templates import BuildLogEntry, BuildStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ppio_sandbox.agent_runtime.client.platform import Platform

SILENCE_SECONDS = 600.0
RECONNECTS = 8
LONGEST_PAUSE = 10.0


async def follow(platform: Platform, template_id: str, build_id: str, show: Callable[[BuildLogEntry], None]) -> BuildStatus:
    """Show each log line once, as it comes, and return how the build ended. A connection that breaks is made again.

    Raises:
        NetworkError: it broke too often; the build goes on without us.
    """
    seen = 0
    for attempt in range(RECONNECTS + 1):
        try:
            async for item in _items(platform, template_id, build_id, seen):
                if isinstance(item, BuildStatus):
                    return item
                show(item)
                seen = item.number + 1
        except NetworkError:
            if attempt == RECONNECTS:
                raise
        await asyncio.sleep(min(0.25 * 2**attempt, LONGEST_PAUSE))
    raise NetworkError("the build's log ended again and again without saying how the build did", "network")


async def _items(platform: Platform, template_id: str, build_id: str, offset: int) -> AsyncGenerator[BuildLogEntry | BuildStatus]:
    request = platform.addressed(templates.follow_build(template_id, build_id, offset))
    async with platform.stream(request, otherwise=AgentClientError, seconds=SILENCE_SECONDS) as reply:
        if reply.status >= 400:
            raise faults.from_platform((await reply.whole()).error(), AgentClientError)
        decoder = Decoder()
        async for part in reply:
            for event in decoder.feed(part):
                yield (BuildStatus if event.event == "end" else BuildLogEntry).model_validate_json(event.data)
