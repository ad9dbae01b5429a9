"""What sandboxes' commands printed, as lines with times.

Nobody notes when each line is printed. What is known is between which two looks it came: the lines of that span are spread evenly
over it, so that times are in order, differ, stay as they were told, and are never further off than the time between two looks.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.services.context import Context

MARKS = 64
"""Looks that are remembered of a sandbox; of older ones the oldest but the first is forgotten."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end; `at` in Unix seconds."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class _Mark:
    offset: int
    at: float


class Outputs:
    """Reads them. Its looks are forgotten with the sandbox, and by a server that is started anew."""

    def __init__(self, context: Context) -> None:
        self._supervision = context.supervision
        self._clock = context.clock
        self._marks: dict[str, list[_Mark]] = {}

    async def lines(self, row: Sandbox) -> Sequence[Line]:
        """Return the lines that are kept (the last 256 KiB), oldest first."""
        data, end = await self._supervision.output(row.id)
        marks = self._look(row, end)
        found: list[Line] = []
        offset = end - len(data)
        for raw in data.splitlines(keepends=True):
            offset += len(raw)
            found.append(Line(_time_of(offset, marks), raw.rstrip(b"\r\n").decode(errors="replace")))
        return found

    def forget(self, sandbox_id: str) -> None:
        """Drop what is known of a sandbox that has ended."""
        self._marks.pop(sandbox_id, None)

    def _look(self, row: Sandbox, end: int) -> Sequence[_Mark]:
        marks = self._marks.setdefault(row.id, [_Mark(0, row.created_at)])
        if end < marks[-1].offset:  # it was started again, with nothing printed yet
            marks[:] = [_Mark(0, marks[-1].at)]
        if end > marks[-1].offset:
            marks.append(_Mark(end, max(self._clock.now(), marks[-1].at)))
        if len(marks) > MARKS:
            del marks[1]
        return marks


def _time_of(offset: int, marks: Sequence[_Mark]) -> float:
    """Return the time of the line that ends at `offset`."""
    index = bisect_left(marks, offset, key=lambda mark: mark.offset)
    later, earlier = marks[min(index, len(marks) - 1)], marks[max(0, index - 1)]
    if later.offset <= earlier.offset:
        return later.at
    return earlier.at + (later.at - earlier.at) * (offset - earlier.offset) / (later.offset - earlier.offset)
