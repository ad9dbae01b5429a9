"""A build's log as it grows: what the sandbox prints becomes rows, and wakes who follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from sandyard.domain.templates import LogLine

if TYPE_CHECKING:
    from sandyard.services.context import Context
    from sandyard.services.wakes import Wakes

_TICK_SECONDS = 0.25
_LINE_CHARACTERS = 2000
_LINE_BYTES = 4 * _LINE_CHARACTERS
_MAX_LINES = 20_000


class BuildLog:
    """Numbers and stores the lines of one build. Of an endless log only the first 20,000 lines are kept."""

    def __init__(self, context: Context, wakes: Wakes, build_id: str) -> None:
        self._context = context
        self._wakes = wakes
        self._build_id = build_id
        self._number = 0
        self._last = ""
        self.stage = ""
        """Where the build is, for a sentence."""

    async def resume(self) -> None:
        """Go on after the lines that an earlier attempt left."""
        while lines := await self._context.store.logs.read(self._build_id, self._number, 1000):
            self._number = lines[-1].number + 1

    async def say(self, *messages: str, level: str = "info") -> None:
        """Append lines."""
        now = self._context.clock.now()
        lines = [
            LogLine(number=self._number + i, timestamp=now, message=text[:_LINE_CHARACTERS], level=level)
            for i, text in enumerate(messages[: self._room])
        ]
        if lines:
            await self._context.store.logs.append(self._build_id, lines)
            self._number += len(lines)
            self._last = lines[-1].message
            self._wakes.wake(self._build_id)

    @property
    def _room(self) -> int:
        return max(0, _MAX_LINES - self._number)

    async def complete(self, output: str) -> None:
        """Append the last lines of something that ended, unless they are here already."""
        lines = output.splitlines()
        if lines and lines[-1] != self._last:
            await self.say(*lines)

    async def follow(self, sandbox_id: str, done: anyio.Event) -> None:
        """Append what the sandbox prints until `done`, then the rest.

        The output is a file that a guest fills; the port has no way to tell of news, so it is read each quarter of a second.
        """
        tail = _Tail()
        while True:
            finished = done.is_set()
            data, tail.offset = await self._context.supervision.output(sandbox_id, tail.offset)
            await self.say(*tail.lines(data, self._room, last=finished))
            if finished:
                return
            with anyio.move_on_after(_TICK_SECONDS):
                await done.wait()


class _Tail:
    """Cuts bytes into lines; one that does not end is cut where it is longer than what a log keeps of a line."""

    def __init__(self) -> None:
        self.offset = 0
        self._rest = b""

    def lines(self, data: bytes, most: int, *, last: bool) -> list[str]:
        if not most:
            return []
        *whole, self._rest = (self._rest + data).split(b"\n")
        if (last and self._rest) or len(self._rest) > _LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in whole[:most]]
