"""Logs of builds for callers: a page, the end, or all of it as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.domain.templates import BuildState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sandyard.domain.templates import Build, LogLine
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes

FINISHED = (BuildState.DEPLOYED, BuildState.FAILED)
_LAST_LINES = 40


@dataclass(frozen=True, slots=True)
class Progress:
    """A piece of a build's log; `build` is set in the last one."""

    lines: Sequence[LogLine]
    build: Build | None = None


class BuildLogs:
    """Reads log lines; ask `Templates.build` first whose the build is."""

    def __init__(self, context: Context, wakes: Wakes) -> None:
        self._builds = context.store.builds
        self._logs = context.store.logs
        self._wakes = wakes

    async def page(self, build_id: str, offset: int, limit: int) -> Sequence[LogLine]:
        """Return log lines of a build from number `offset` on."""
        return await self._logs.read(build_id, offset, limit)

    async def last_lines(self, build_id: str) -> Sequence[LogLine]:
        """Return the last 40 lines of a build's log."""
        last: list[LogLine] = []
        offset = 0
        while page := await self._logs.read(build_id, offset, 1000):
            last = [*last, *page][-_LAST_LINES:]
            offset = page[-1].number + 1
        return last

    async def follow(self, build: Build, offset: int) -> AsyncGenerator[Progress]:
        """Yield the build's log lines as they come; the last piece holds the finished build, unless the server ends first."""
        while not self._wakes.closed:
            news = self._wakes.event(build.id)
            row = await self._builds.get(build.id)
            lines = await self._logs.read(build.id, offset, 1000)
            if lines:
                offset = lines[-1].number + 1
                yield Progress(lines)
            elif row is None or row.state in FINISHED:
                yield Progress((), row or build)
                return
            else:
                await news.wait()
