"""Rows of the gateway's core: prefabs, their versions, jobs and their events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandyard.domain.calls import Job, JobEvent, JobState
from sandyard.domain.prefabs import Prefab, PrefabState, PrefabVersion
from sandyard.store.rows import Table, texts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sandyard.store.worker import Worker


def _maybe(text: str | None) -> Any:
    return None if text is None else json.loads(text)


PREFABS = Table("prefabs", Prefab)
VERSIONS = Table("prefab_versions", PrefabVersion, {"state": PrefabState, "manifest": json.loads, "warnings": texts})
JOBS = Table("jobs", Job, {"state": JobState, "calls": json.loads, "results": _maybe, "asynchronous": bool})
EVENTS = Table("job_events", JobEvent, {"data": json.loads})


class SqlitePrefabs:
    """`ports.PrefabRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def claim(self, prefab: Prefab) -> Prefab:
        def work(db: sqlite3.Connection) -> Prefab:
            there = PREFABS.first(db, "WHERE id = ?", (prefab.id,))
            if there is None:
                PREFABS.insert(db, prefab)
            return there or prefab

        return await self._writer.do(work)

    async def get(self, prefab_id: str) -> Prefab | None:
        return await self._reader.do(lambda db: PREFABS.first(db, "WHERE id = ?", (prefab_id,)))

    async def show(self, prefab_id: str, visibility: str) -> None:
        sql = "UPDATE prefabs SET visibility = ? WHERE id = ?"
        await self._writer.do(lambda db: db.execute(sql, (visibility, prefab_id)).rowcount)

    async def visible(self, owner: str) -> Sequence[Prefab]:
        rest = "WHERE owner = ? OR visibility = 'public' ORDER BY id"
        return await self._reader.do(lambda db: PREFABS.all(db, rest, (owner,)))

    async def add_version(self, version: PrefabVersion) -> None:
        await self._writer.do(lambda db: VERSIONS.insert(db, version))

    async def version(self, version_id: str) -> PrefabVersion | None:
        return await self._reader.do(lambda db: VERSIONS.first(db, "WHERE id = ?", (version_id,)))

    async def versions(self, *, prefab_id: str | None = None, states: Sequence[str] = ()) -> Sequence[PrefabVersion]:
        places = ", ".join("?" * len(states))
        rest = f"WHERE (? IS NULL OR prefab_id = ?) AND ({not states:d} OR state IN ({places})) ORDER BY created_at DESC, rowid DESC"
        return await self._reader.do(lambda db: VERSIONS.all(db, rest, (prefab_id, prefab_id, *map(str, states))))

    async def change_version(self, version_id: str, expected: Sequence[str], **fields: object) -> PrefabVersion | None:
        deployed = fields.get("state") == PrefabState.DEPLOYED
        return await self._writer.do(lambda db: VERSIONS.change(db, version_id, expected, fields), durable=deployed)


class SqliteJobs:
    """`ports.JobRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, job: Job) -> None:
        await self._writer.do(lambda db: JOBS.insert(db, job))

    async def get(self, job_id: str) -> Job | None:
        return await self._reader.do(lambda db: JOBS.first(db, "WHERE id = ?", (job_id,)))

    async def change(self, job_id: str, expected: Sequence[str], **fields: object) -> Job | None:
        return await self._writer.do(lambda db: JOBS.change(db, job_id, expected, fields))

    async def by_idempotency_key(self, owner: str, user: str, key: str) -> Job | None:
        rest = "WHERE owner = ? AND user = ? AND idempotency_key = ?"
        return await self._reader.do(lambda db: JOBS.first(db, rest, (owner, user, key)))

    async def running(self) -> Sequence[Job]:
        return await self._reader.do(lambda db: JOBS.all(db, "WHERE state = 'RUNNING' ORDER BY created_at"))

    async def forget(self, before: float) -> int:
        return await self._writer.do(lambda db: db.execute("DELETE FROM jobs WHERE finished_at < ?", (before,)).rowcount)

    async def add_events(self, job_id: str, events: Sequence[JobEvent]) -> None:
        def work(db: sqlite3.Connection) -> None:
            for event in events:
                EVENTS.insert(db, event, job_id=job_id)

        await self._writer.do(work)

    async def events(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        rest = "WHERE job_id = ? AND number > ? ORDER BY number LIMIT ?"
        return await self._reader.do(lambda db: EVENTS.all(db, rest, (job_id, after, limit)))
