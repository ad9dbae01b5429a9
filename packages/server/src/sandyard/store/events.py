"""Rows of what happened to sandboxes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandyard.domain.sandboxes import SandboxEvent
from sandyard.store.rows import Table, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.store.worker import Worker

EVENTS = Table("sandbox_events", SandboxEvent, {"data": json.loads})


class SqliteEvents:
    """`ports.EventRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, event: SandboxEvent) -> None:
        await self._writer.do(lambda db: EVENTS.insert(db, event))

    async def list(
        self,
        owner: str,
        *,
        sandbox_id: str | None = None,
        types: Sequence[str] = (),
        limit: int = 100,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> Sequence[SandboxEvent]:
        order = "ASC" if oldest_first else "DESC"
        rest = (
            f"WHERE owner = ? AND (? IS NULL OR sandbox_id = ?) AND ({not types:d} OR type IN ({places(types)})) "
            f"ORDER BY at {order}, rowid {order} LIMIT ? OFFSET ?"
        )
        values = (owner, sandbox_id, sandbox_id, *types, limit, offset)
        return await self._reader.do(lambda db: EVENTS.all(db, rest, values))

    async def forget(self, before: float) -> int:
        return await self._writer.do(lambda db: db.execute("DELETE FROM sandbox_events WHERE at < ?", (before,)).rowcount)
