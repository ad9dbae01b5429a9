"""The store on SQLite: one writer thread with group commit, one reader thread beside it (write-ahead log)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.templates import BuildState
from sandyard.store.accounting import SqliteAudit, SqliteQuotas, SqliteSecrets
from sandyard.store.call_logs import SqliteCallLogs
from sandyard.store.connection import MEMORY, connect, migrate
from sandyard.store.events import SqliteEvents
from sandyard.store.files import SqliteFiles
from sandyard.store.gateway import SqliteJobs, SqlitePrefabs
from sandyard.store.rows import BUILDS, KEYS, LOG_LINES, SANDBOXES, TAGS, TEMPLATES, places
from sandyard.store.volumes import SqliteSandboxSecrets, SqliteVolumes
from sandyard.store.webhooks import SqliteWebhooks
from sandyard.store.worker import Worker

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from sandyard.domain.keys import ApiKey
    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.templates import Build, LogLine, Tag, Template


_FINAL = tuple(state.value for state in SandboxState if state.final)
_LIVING = tuple(state.value for state in SandboxState if not state.final)


class _Rows:
    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader


class SqliteSandboxes(_Rows):
    """`ports.SandboxRows`."""

    async def add(self, sandbox: Sandbox) -> None:
        await self._writer.do(lambda db: SANDBOXES.insert(db, sandbox))

    async def get(self, sandbox_id: str) -> Sandbox | None:
        return await self._reader.do(lambda db: SANDBOXES.first(db, "WHERE id = ?", (sandbox_id,)))

    async def change(self, sandbox_id: str, expected: Sequence[str], **fields: object) -> Sandbox | None:
        put_away = fields.get("saved") is True  # it outlives the machine's power; a running one does not
        return await self._writer.do(lambda db: SANDBOXES.change(db, sandbox_id, expected, fields), durable=put_away)

    async def by_idempotency_key(self, owner: str, key: str) -> Sandbox | None:
        return await self._reader.do(lambda db: SANDBOXES.first(db, "WHERE owner = ? AND idempotency_key = ?", (owner, key)))

    async def list(
        self,
        *,
        owner: str | None = None,
        states: Sequence[str] = (),
        limit: int = 1000,
        after: str | None = None,
        oldest_first: bool = False,
        since: float | None = None,
        template_ids: Sequence[str] | None = None,
    ) -> Sequence[Sandbox]:
        order, beyond = ("ASC", ">") if oldest_first else ("DESC", "<")
        wanted: list[tuple[str, Sequence[object]]] = []
        if owner is not None:
            wanted.append(("owner = ?", [owner]))
        if states:
            wanted.append((f"state IN ({places(states)})", list(map(str, states))))
        if after is not None:
            wanted.append((f"(created_at, rowid) {beyond} (SELECT created_at, rowid FROM sandboxes WHERE id = ?)", [after]))  # noqa: S608 (a word)
        if since is not None:
            wanted.append(("created_at >= ?", [since]))
        if template_ids is not None:
            wanted.append((f"template_id IN ({places(template_ids)})", template_ids))
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        values = [value for _, some in wanted for value in some]
        rest = f"{where} ORDER BY created_at {order}, rowid {order} LIMIT ?"
        return await self._reader.do(lambda db: SANDBOXES.all(db, rest, [*values, limit]))

    async def restored(self, state_id: str) -> int:
        sql = f"SELECT count(*) FROM sandboxes WHERE state IN ({places(_LIVING)}) AND ? IN (restore, origin)"  # noqa: S608 (only places)
        return await self._writer.do(lambda db: db.execute(sql, (*_LIVING, state_id)).fetchone()[0])

    async def forget(self, before: float) -> int:
        sql = f"DELETE FROM sandboxes WHERE ends_at < ? AND state IN ({places(_FINAL)})"  # noqa: S608 (only places)
        return await self._writer.do(lambda db: db.execute(sql, (before, *_FINAL)).rowcount)


class SqliteTemplates(_Rows):
    """`ports.TemplateRows`."""

    async def add_template(self, template: Template) -> Template:
        def work(db: sqlite3.Connection) -> Template:
            there = TEMPLATES.first(db, "WHERE owner = ? AND name = ?", (template.owner, template.name))
            if there is None:
                TEMPLATES.insert(db, template)
            return there or template

        return await self._writer.do(work)

    async def get_template(self, template_id: str) -> Template | None:
        return await self._reader.do(lambda db: TEMPLATES.first(db, "WHERE id = ?", (template_id,)))

    async def find_template(self, owner: str, name: str) -> Template | None:
        return await self._reader.do(lambda db: TEMPLATES.first(db, "WHERE owner = ? AND name = ?", (owner, name)))

    async def list_templates(self, owner: str) -> Sequence[Template]:
        return await self._reader.do(lambda db: TEMPLATES.all(db, "WHERE owner = ? ORDER BY created_at DESC, rowid DESC", (owner,)))

    async def publish(self, template_id: str, *, public: bool) -> Template | None:
        def work(db: sqlite3.Connection) -> Template | None:
            db.execute("UPDATE templates SET public = ? WHERE id = ?", (public, template_id))
            return TEMPLATES.first(db, "WHERE id = ?", (template_id,))

        return await self._writer.do(work)

    async def delete_template(self, template_id: str) -> None:
        await self._writer.do(lambda db: db.execute("DELETE FROM templates WHERE id = ?", (template_id,)).rowcount)


class SqliteBuilds(_Rows):
    """`ports.BuildRows`."""

    async def add(self, build: Build) -> None:
        await self._writer.do(lambda db: BUILDS.insert(db, build))

    async def get(self, build_id: str) -> Build | None:
        return await self._reader.do(lambda db: BUILDS.first(db, "WHERE id = ?", (build_id,)))

    async def change(self, build_id: str, expected: Sequence[str], **fields: object) -> Build | None:
        def work(db: sqlite3.Connection) -> Build | None:
            build = BUILDS.change(db, build_id, expected, fields)
            if build is not None and deployed:
                _publish(db, build)
            return build

        deployed = fields.get("state") == BuildState.DEPLOYED
        return await self._writer.do(work, durable=deployed)

    async def list(self, *, template_id: str | None = None, states: Sequence[str] = ()) -> Sequence[Build]:
        rest = (
            f"WHERE (? IS NULL OR template_id = ?) AND ({not states:d} OR state IN ({places(states)})) ORDER BY created_at DESC, rowid DESC"
        )
        return await self._reader.do(lambda db: BUILDS.all(db, rest, (template_id, template_id, *map(str, states))))

    async def tagged(self, template_id: str, tag: str) -> Build | None:
        rest = "JOIN tags ON tags.build_id = builds.id WHERE tags.template_id = ? AND tags.tag = ?"
        return await self._reader.do(lambda db: BUILDS.first(db, rest, (template_id, tag)))

    async def tags(self, template_id: str) -> Sequence[Tag]:
        rest = "WHERE template_id = ? ORDER BY created_at DESC, tag"
        return await self._reader.do(lambda db: TAGS.all(db, rest, (template_id,)))

    async def tag(self, build_id: str, tags: Sequence[str], at: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            build = BUILDS.first(db, "WHERE id = ?", (build_id,))
            if build is not None:
                _point(db, build, tags, at)

        await self._writer.do(work, durable=True)

    async def untag(self, template_id: str, tags: Sequence[str]) -> None:
        values = [(template_id, tag) for tag in tags]
        await self._writer.do(lambda db: db.executemany("DELETE FROM tags WHERE template_id = ? AND tag = ?", values).rowcount)

    async def delete(self, build_id: str) -> None:
        await self._writer.do(lambda db: db.execute("DELETE FROM builds WHERE id = ?", (build_id,)).rowcount)


def _publish(db: sqlite3.Connection, build: Build) -> None:
    """Move the build's tags to it and date its template."""
    _point(db, build, build.tags, build.finished_at or build.created_at)
    if build.finished_at is not None:
        db.execute("UPDATE templates SET updated_at = ? WHERE id = ?", (build.finished_at, build.template_id))


def _point(db: sqlite3.Connection, build: Build, tags: Sequence[str], at: float) -> None:
    moved = [(build.template_id, tag, build.id, at) for tag in tags]
    db.executemany("INSERT OR REPLACE INTO tags (template_id, tag, build_id, created_at) VALUES (?, ?, ?, ?)", moved)


class SqliteLogs(_Rows):
    """`ports.LogRows`."""

    async def append(self, build_id: str, lines: Sequence[LogLine]) -> None:
        def work(db: sqlite3.Connection) -> None:
            for line in lines:
                LOG_LINES.insert(db, line, build_id=build_id)

        await self._writer.do(work)

    async def read(self, build_id: str, offset: int, limit: int) -> Sequence[LogLine]:
        rest = "WHERE build_id = ? AND number >= ? ORDER BY number LIMIT ?"
        return await self._reader.do(lambda db: LOG_LINES.all(db, rest, (build_id, offset, limit)))


class SqliteKeys(_Rows):
    """`ports.KeyRows`."""

    async def add(self, key: ApiKey) -> None:
        await self._writer.do(lambda db: KEYS.insert(db, key), durable=True)

    async def list(self) -> Sequence[ApiKey]:
        return await self._reader.do(lambda db: KEYS.all(db, "ORDER BY created_at, rowid"))

    async def revoke(self, key_id: str, at: float) -> bool:
        sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
        return await self._writer.do(lambda db: db.execute(sql, (at, key_id)).rowcount == 1, durable=True)


class SqliteStore:
    """`ports.Store` in one file, or in memory (`":memory:"`, the twin for tests)."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._workers = (writer, reader)
        self.sandboxes = SqliteSandboxes(writer, reader)
        self.events = SqliteEvents(writer, reader)
        self.templates = SqliteTemplates(writer, reader)
        self.builds = SqliteBuilds(writer, reader)
        self.logs = SqliteLogs(writer, reader)
        self.keys = SqliteKeys(writer, reader)
        self.prefabs = SqlitePrefabs(writer, reader)
        self.jobs = SqliteJobs(writer, reader)
        self.files = SqliteFiles(writer, reader)
        self.quotas = SqliteQuotas(writer, reader)
        self.secrets = SqliteSecrets(writer, reader)
        self.audit = SqliteAudit(writer, reader)
        self.call_logs = SqliteCallLogs(writer, reader)
        self.webhooks = SqliteWebhooks(writer, reader)
        self.volumes = SqliteVolumes(writer, reader)
        self.sandbox_secrets = SqliteSandboxSecrets(writer, reader)

    @classmethod
    async def open(cls, path: Path | str) -> SqliteStore:
        """Open or create the database (mode 0600) and bring its schema up to date.

        Raises:
            StoreUnavailable: it cannot be opened or written, is damaged, or is newer than this program.
        """
        name = str(path)
        writer = await asyncio.to_thread(_open_writer, name)
        if name == MEMORY:
            worker = Worker(writer, name, writes=True)
            return cls(worker, worker)
        try:
            reader = await asyncio.to_thread(connect, name)
        except BaseException:
            writer.close()
            raise
        return cls(Worker(writer, name, writes=True), Worker(reader, name, writes=False))

    async def close(self) -> None:
        """Finish what was asked and close. Idempotent."""
        for worker in self._workers:
            await worker.close()


def _open_writer(path: str) -> sqlite3.Connection:
    connection = connect(path)
    try:
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
