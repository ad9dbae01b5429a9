"""State in a SQLite file: one connection on one thread, WAL, so that several processes may share it."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from agentapp.errors import SessionConflict, StoreError
from agentapp.sessions.ports import Key, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""So long a write may wait for another process's."""
SWEEP_EVERY = 256
"""Saves between two sweeps of what has expired."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    app TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, session TEXT NOT NULL,
    version INTEGER NOT NULL, expires_at REAL,
    PRIMARY KEY (app, tenant, user, session)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS modules (
    app TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, session TEXT NOT NULL, module TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (app, tenant, user, session, module)
);
CREATE TABLE IF NOT EXISTS leases (
    app TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, session TEXT NOT NULL,
    owner TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (app, tenant, user, session)
) WITHOUT ROWID;
"""
_THIS = "app = ? AND tenant = ? AND user = ? AND session = ?"
_EXPIRED = (
    "SELECT 1 FROM sessions s WHERE s.expires_at <= ? AND (s.app, s.tenant, s.user, s.session) = (m.app, m.tenant, m.user, m.session)"
)


class _Write(NamedTuple):
    """The arguments of a save."""

    key: Key
    modules: Mapping[str, bytes]
    expected: int | None
    expires_at: float | None
    now: float


class SqliteStore:
    """A `SessionStore` in the file `path`, which is made with its directory, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        self._database: sqlite3.Connection | None = None
        self._saves = 0

    async def open(self) -> None:
        """Open the file, and make the tables that are missing."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._run(self._database.close)
        self._thread.shutdown(wait=False)

    async def load(self, key: Key, now: float) -> Stored | None:
        """Return what is kept."""
        return await self._run(lambda: self._load(key, now))

    async def save(self, key: Key, modules: Mapping[str, bytes], *, expected: int | None, expires_at: float | None, now: float) -> int:
        """Put modules in, in one transaction."""
        return await self._run(lambda: self._save(_Write(key, modules, expected, expires_at, now)))

    async def delete(self, key: Key) -> None:
        """Forget the session's state."""
        await self._run(lambda: self._delete(key))

    async def lease(self, key: Key, owner: str, until: float, now: float) -> bool:
        """Let only `owner` work on the session."""
        taken = (
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner, until = excluded.until "
            "WHERE leases.owner = excluded.owner OR leases.until <= ?"
        )
        return await self._run(lambda: self._write(taken, (*key, owner, until, now))) == 1

    async def release(self, key: Key, owner: str) -> None:
        """End the lease."""
        await self._run(lambda: self._write(f"DELETE FROM leases WHERE {_THIS} AND owner = ?", (*key, owner)))  # noqa: S608 (constants)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the session store {self._path} failed: {error}") from error

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut at most the last saves
        database.executescript(_SCHEMA)
        self._database = database

    @property
    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError("the session store is not open")
        return self._database

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        return self._open_database.execute(statement, values).rowcount

    def _load(self, key: Key, now: float) -> Stored | None:
        rows = self._open_database.execute(
            f"SELECT version, expires_at, module, body FROM sessions LEFT JOIN modules USING (app, tenant, user, session) WHERE {_THIS}",  # noqa: S608 (constants)
            key,
        ).fetchall()
        if not rows or (rows[0][1] is not None and rows[0][1] <= now):
            return None
        return Stored(rows[0][0], {module: body for _, _, module, body in rows if module is not None})

    def _save(self, write: _Write) -> int:
        database = self._open_database
        database.execute("BEGIN IMMEDIATE")
        try:
            version = self._saved(database, write)
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")
        return version

    def _saved(self, database: sqlite3.Connection, write: _Write) -> int:
        key, modules, expected, expires_at, now = write
        self._saves += 1
        if self._saves % SWEEP_EVERY == 0:
            database.execute(f"DELETE FROM modules AS m WHERE EXISTS ({_EXPIRED})", (now,))  # noqa: S608 (constants)
            database.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
        row = database.execute(f"SELECT version, expires_at FROM sessions WHERE {_THIS}", key).fetchone()  # noqa: S608 (constants)
        if row is not None and row[1] is not None and row[1] <= now:
            database.execute(f"DELETE FROM modules WHERE {_THIS}", key)  # noqa: S608 (constants)
            row = None
        version: int = row[0] if row else 0
        if expected is not None and expected != version:
            raise SessionConflict(f"the session {key.session!r} was saved by somebody else since this request has read it")
        database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)", (*key, version + 1, expires_at))
        database.executemany(
            "INSERT OR REPLACE INTO modules VALUES (?, ?, ?, ?, ?, ?)", [(*key, module, body) for module, body in modules.items()]
        )
        return version + 1

    def _delete(self, key: Key) -> None:
        database = self._open_database
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"DELETE FROM modules WHERE {_THIS}", key)  # noqa: S608 (constants)
        database.execute(f"DELETE FROM sessions WHERE {_THIS}", key)  # noqa: S608 (constants)
        database.execute("COMMIT")
