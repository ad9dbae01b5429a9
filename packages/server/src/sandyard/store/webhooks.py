"""Rows of who is to be told that a job has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandyard.domain.calls import Webhook
from sandyard.store.rows import Table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sandyard.store.worker import Worker

WEBHOOKS = Table("webhooks", Webhook)
_ENDED = "JOIN jobs ON jobs.id = webhooks.job_id WHERE jobs.state <> 'RUNNING'"


class SqliteWebhooks:
    """`ports_accounting.WebhookRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, webhook: Webhook) -> None:
        await self._writer.do(lambda db: WEBHOOKS.insert(db, webhook))

    async def due(self, now: float, limit: int) -> Sequence[Webhook]:
        rest = f"{_ENDED} AND webhooks.due_at <= ? ORDER BY webhooks.due_at LIMIT ?"
        return await self._reader.do(lambda db: WEBHOOKS.all(db, rest, (now, limit)))

    async def next_due(self) -> float | None:
        sql = f"SELECT MIN(webhooks.due_at) FROM webhooks {_ENDED}"  # noqa: S608 (constant)

        def work(db: sqlite3.Connection) -> float | None:
            return db.execute(sql).fetchone()[0]

        return await self._reader.do(work)

    async def put_off(self, webhook: Webhook) -> None:
        sql = "UPDATE webhooks SET attempts = ?, due_at = ? WHERE job_id = ?"
        await self._writer.do(lambda db: db.execute(sql, (webhook.attempts, webhook.due_at, webhook.job_id)).rowcount)

    async def remove(self, job_id: str) -> None:
        await self._writer.do(lambda db: db.execute("DELETE FROM webhooks WHERE job_id = ?", (job_id,)).rowcount)
