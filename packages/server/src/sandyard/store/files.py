"""Rows of files, and of the bytes that their owners store (kept by triggers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandyard.domain.files import File, FileKind, FileState
from sandyard.store.rows import Table, places

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sandyard.store.worker import Worker

FILES = Table("files", File, {"kind": FileKind, "state": FileState})


class SqliteFiles:
    """`ports.FileRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, file: File) -> None:
        await self._writer.do(lambda db: FILES.insert(db, file))

    async def add_within(self, file: File, limit: int) -> tuple[bool, int]:
        used = "SELECT used FROM stored_bytes WHERE owner = ?"

        def work(db: sqlite3.Connection) -> tuple[bool, int]:
            (there,) = db.execute(used, (file.owner,)).fetchone() or (0,)
            if there + file.size > limit:
                return False, there
            FILES.insert(db, file)
            return True, there + file.size

        return await self._writer.do(work)

    async def get(self, key: str) -> File | None:
        return await self._reader.do(lambda db: FILES.first(db, "WHERE key = ?", (key,)))

    async def begin(self, key: str, now: float, until: float) -> File | None:
        sql = "UPDATE files SET state = 'writing', expires_at = max(expires_at, ?) WHERE key = ? AND state = 'pending' AND expires_at > ?"

        def work(db: sqlite3.Connection) -> File | None:
            done = db.execute(sql, (until, key, now)).rowcount
            return FILES.first(db, "WHERE key = ?", (key,)) if done else None

        return await self._writer.do(work)

    async def grow(self, key: str, size: int, limit: int, until: float) -> tuple[bool, int]:
        sql = """UPDATE files SET size = :size, expires_at = max(expires_at, :until) WHERE key = :key AND state = 'writing'
                 AND (SELECT used FROM stored_bytes WHERE owner = files.owner) + :size - files.size <= :limit"""
        used = "SELECT used FROM stored_bytes JOIN files USING (owner) WHERE key = ?"

        def work(db: sqlite3.Connection) -> tuple[bool, int]:
            done = db.execute(sql, {"size": size, "until": until, "key": key, "limit": limit}).rowcount
            found = db.execute(used, (key,)).fetchone()
            return bool(done), found[0] if found else 0

        return await self._writer.do(work)

    async def finish(self, key: str, size: int, expires_at: float | None, now: float) -> bool:
        sql = "UPDATE files SET state = 'ready', size = ?, expires_at = ?, created_at = ? WHERE key = ? AND state = 'writing'"
        return await self._writer.do(lambda db: db.execute(sql, (size, expires_at, now, key)).rowcount == 1)

    async def arrive(self, key: str, now: float) -> bool:
        sql = "UPDATE files SET state = 'ready', expires_at = NULL, created_at = ? WHERE key = ? AND state = 'pending' AND size > 0"
        return await self._writer.do(lambda db: db.execute(sql, (now, key)).rowcount == 1)

    async def overdue(self, now: float, limit: int) -> Sequence[File]:
        rest = "WHERE expires_at <= ? AND state = 'pending' AND size > 0 ORDER BY expires_at LIMIT ?"
        return await self._reader.do(lambda db: FILES.all(db, rest, (now, limit)))

    async def give_up(self, key: str | None) -> int:
        sql = "UPDATE files SET state = 'pending', size = 0 WHERE state = 'writing' AND (? IS NULL OR key = ?)"
        return await self._writer.do(lambda db: db.execute(sql, (key, key)).rowcount)

    async def hide(self, keys: Sequence[str]) -> None:
        sql = f"UPDATE files SET state = 'deleting' WHERE key IN ({places(keys)})"  # noqa: S608 (only places)
        await self._writer.do(lambda db: db.execute(sql, keys).rowcount)

    async def hide_session(self, owner: str, user: str, agent: str, session: str) -> Sequence[str]:
        rest = "owner = ? AND user = ? AND agent = ? AND session = ? AND kind = 'agent-workspace' AND state = 'ready'"
        sql = f"UPDATE files SET state = 'deleting' WHERE {rest} RETURNING key"  # noqa: S608 (constant)
        return await self._writer.do(lambda db: [row[0] for row in db.execute(sql, (owner, user, agent, session)).fetchall()])

    async def hide_ended(self, now: float, limit: int) -> Sequence[str]:
        ended = "SELECT key FROM files WHERE expires_at <= ? AND state <> 'deleting' AND (state <> 'pending' OR size = 0) LIMIT ?"

        def work(db: sqlite3.Connection) -> Sequence[str]:
            db.execute(f"UPDATE files SET state = 'deleting' WHERE key IN ({ended})", (now, limit))  # noqa: S608 (constant)
            return [row[0] for row in db.execute("SELECT key FROM files WHERE state = 'deleting' LIMIT ?", (limit,))]

        return await self._writer.do(work)

    async def remove(self, keys: Sequence[str]) -> None:
        sql = f"DELETE FROM files WHERE state = 'deleting' AND key IN ({places(keys)})"  # noqa: S608 (only places)
        await self._writer.do(lambda db: db.execute(sql, keys).rowcount)

    async def list(
        self, owner: str, user: str, kind: FileKind, *, agent: str, session: str | None, after: str, limit: int, now: float
    ) -> Sequence[File]:
        rest = """WHERE owner = ? AND user = ? AND kind = ? AND agent = ? AND (? IS NULL OR session = ?) AND key > ?
                  AND state = 'ready' AND (expires_at IS NULL OR expires_at > ?) ORDER BY key LIMIT ?"""
        values = (owner, user, kind.value, agent, session, session, after, now, limit)
        return await self._reader.do(lambda db: FILES.all(db, rest, values))

    async def stored(self, owner: str) -> int:
        sql = "SELECT used FROM stored_bytes WHERE owner = ?"
        return await self._reader.do(lambda db: (db.execute(sql, (owner,)).fetchone() or (0,))[0])
