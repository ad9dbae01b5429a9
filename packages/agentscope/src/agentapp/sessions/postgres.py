"""State in PostgreSQL, by psycopg (the extra `postgres`)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from agentapp.errors import SessionConflict, StoreError
from agentapp.sessions.ports import Key, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
POOL_SIZE = 8
CONNECT_SECONDS = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS agentapp_sessions (
    app text NOT NULL, tenant text NOT NULL, "user" text NOT NULL, session text NOT NULL,
    version bigint NOT NULL, expires_at double precision,
    PRIMARY KEY (app, tenant, "user", session)
);
CREATE TABLE IF NOT EXISTS agentapp_modules (
    app text NOT NULL, tenant text NOT NULL, "user" text NOT NULL, session text NOT NULL, module text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (app, tenant, "user", session, module),
    FOREIGN KEY (app, tenant, "user", session) REFERENCES agentapp_sessions ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS agentapp_leases (
    app text NOT NULL, tenant text NOT NULL, "user" text NOT NULL, session text NOT NULL,
    owner text NOT NULL, until double precision NOT NULL,
    PRIMARY KEY (app, tenant, "user", session)
);
"""
_LOAD = """
SELECT s.version, m.module, m.body FROM agentapp_sessions s LEFT JOIN agentapp_modules m USING (app, tenant, "user", session)
WHERE s.app = %s AND s.tenant = %s AND s."user" = %s AND s.session = %s AND (s.expires_at IS NULL OR s.expires_at > %s)
"""
_FORGET_EXPIRED = """
DELETE FROM agentapp_sessions WHERE app = %s AND tenant = %s AND "user" = %s AND session = %s AND expires_at <= %s
"""
_ANY = """
INSERT INTO agentapp_sessions AS s VALUES (%s, %s, %s, %s, 1, %s)
ON CONFLICT (app, tenant, "user", session) DO UPDATE SET version = s.version + 1, expires_at = excluded.expires_at RETURNING version
"""
_FIRST = "INSERT INTO agentapp_sessions VALUES (%s, %s, %s, %s, 1, %s) ON CONFLICT DO NOTHING RETURNING version"
_NEXT = """
UPDATE agentapp_sessions SET version = version + 1, expires_at = %s
WHERE app = %s AND tenant = %s AND "user" = %s AND session = %s AND version = %s RETURNING version
"""
_MODULE = """
INSERT INTO agentapp_modules VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (app, tenant, "user", session, module) DO UPDATE SET body = excluded.body
"""
_DELETE = 'DELETE FROM agentapp_sessions WHERE app = %s AND tenant = %s AND "user" = %s AND session = %s'
_LEASE = """
INSERT INTO agentapp_leases AS l VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (app, tenant, "user", session) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE l.owner = excluded.owner OR l.until <= %s RETURNING 1
"""
_RELEASE = 'DELETE FROM agentapp_leases WHERE app = %s AND tenant = %s AND "user" = %s AND session = %s AND owner = %s'
_SCHEMA_LOCK = 0x61676E74
"""Two processes that make the tables at once would fail without one waiting for the other."""


class PostgresStore:
    """A `SessionStore` in the database `url` (`postgresql://…`)."""

    def __init__(self, url: str) -> None:
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            url, min_size=1, max_size=POOL_SIZE, open=False, timeout=CONNECT_SECONDS
        )

    async def open(self) -> None:
        """Connect, and make the tables that are missing."""
        try:
            await self._pool.open(wait=True, timeout=CONNECT_SECONDS)
        except PoolTimeout as error:
            await self._pool.close()
            raise StoreError(f"PostgreSQL does not answer: {error}") from None
        async with self._connection() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    await connection.execute(statement.encode())

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def load(self, key: Key, now: float) -> Stored | None:
        """Return what is kept."""
        async with self._connection() as connection:
            rows = await (await connection.execute(_LOAD, (*key, now))).fetchall()
        return Stored(rows[0][0], {module: bytes(body) for _, module, body in rows if module is not None}) if rows else None

    async def save(self, key: Key, modules: Mapping[str, bytes], *, expected: int | None, expires_at: float | None, now: float) -> int:
        """Put modules in, in one transaction."""
        async with self._connection() as connection:
            await connection.execute(_FORGET_EXPIRED, (*key, now))
            if expected is None:
                cursor = await connection.execute(_ANY, (*key, expires_at))
            elif expected == 0:
                cursor = await connection.execute(_FIRST, (*key, expires_at))
            else:
                cursor = await connection.execute(_NEXT, (expires_at, *key, expected))
            row = await cursor.fetchone()
            if row is None:
                raise SessionConflict(f"the session {key.session!r} was saved by somebody else since this request has read it")
            async with connection.cursor() as writer:
                await writer.executemany(_MODULE, [(*key, module, body) for module, body in modules.items()])
            return int(row[0])

    async def delete(self, key: Key) -> None:
        """Forget the session's state."""
        async with self._connection() as connection:
            await connection.execute(_DELETE, key)

    async def lease(self, key: Key, owner: str, until: float, now: float) -> bool:
        """Let only `owner` work on the session."""
        async with self._connection() as connection:
            return await (await connection.execute(_LEASE, (*key, owner, until, now))).fetchone() is not None

    async def release(self, key: Key, owner: str) -> None:
        """End the lease."""
        async with self._connection() as connection:
            await connection.execute(_RELEASE, (*key, owner))

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        """Give a connection in a transaction, which ends with the block."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise StoreError(f"PostgreSQL failed: {error}") from error
