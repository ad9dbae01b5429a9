"""Rows of what calls have printed."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from sandyard.domain.calls import CallLog
from sandyard.store.rows import Table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sandyard.store.worker import Worker

LOGS = Table("call_logs", CallLog, {"succeeded": bool})


class SqliteCallLogs:
    """`ports_accounting.CallLogRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, log: CallLog, most: int) -> None:
        _, *columns = LOGS.columns
        insert = f"INSERT INTO call_logs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 (our names)
        oldest = "SELECT number FROM call_logs WHERE owner = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
        cut = f"DELETE FROM call_logs WHERE owner = ? AND number <= ({oldest})"  # noqa: S608 (constant)

        def work(db: sqlite3.Connection) -> None:
            db.execute(insert, astuple(log)[1:])
            db.execute(cut, (log.owner, log.owner, most))

        await self._writer.do(work)

    async def of_job(self, owner: str, user: str, job_id: str) -> Sequence[CallLog]:
        rest = "WHERE owner = ? AND user = ? AND job_id = ? ORDER BY call"
        return await self._reader.do(lambda db: LOGS.all(db, rest, (owner, user, job_id)))

    async def of_prefab(self, owner: str, user: str, prefab_id: str, *, after: int | None, limit: int) -> Sequence[CallLog]:
        order = "DESC" if after is None else "ASC"
        rest = f"WHERE owner = ? AND user = ? AND prefab_id = ? AND number > ? ORDER BY number {order} LIMIT ?"
        found = await self._reader.do(lambda db: LOGS.all(db, rest, (owner, user, prefab_id, after or 0, limit)))
        return found if after is not None else found[::-1]

    async def forget(self, before: float) -> int:
        return await self._writer.do(lambda db: db.execute("DELETE FROM call_logs WHERE at < ?", (before,)).rowcount)
