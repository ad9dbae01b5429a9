"""Rows of volumes and of the secrets that sandboxes may be given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.secrets import SandboxSecret
from sandyard.domain.volumes import Volume
from sandyard.store.rows import Table, encode, places, texts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sandyard.store.worker import Worker

VOLUMES = Table("volumes", Volume)
SECRETS = Table("sandbox_secrets", SandboxSecret, {"metadata": json.loads, "hosts": texts})

_LIVING = tuple(state.value for state in SandboxState if not state.final)
_USERS = f"""SELECT id FROM sandboxes WHERE state IN ({places(_LIVING)}) AND EXISTS (
    SELECT 1 FROM json_each(sandboxes.volumes) AS mount WHERE json_extract(mount.value, '$.volume_id') = ?)"""  # noqa: S608 (only places)


class SqliteVolumes:
    """`ports.VolumeRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, volume: Volume) -> None:
        await self._writer.do(lambda db: VOLUMES.insert(db, volume))

    async def get(self, volume_id: str) -> Volume | None:
        return await self._reader.do(lambda db: VOLUMES.first(db, "WHERE id = ?", (volume_id,)))

    async def find(self, owner: str, name: str) -> Volume | None:
        return await self._reader.do(lambda db: VOLUMES.first(db, "WHERE owner = ? AND name = ?", (owner, name)))

    async def list(self, owner: str | None = None) -> Sequence[Volume]:
        rest = "WHERE ? IS NULL OR owner = ? ORDER BY created_at, rowid"
        return await self._reader.do(lambda db: VOLUMES.all(db, rest, (owner, owner)))

    async def rename(self, volume_id: str, name: str) -> Volume | None:
        def work(db: sqlite3.Connection) -> Volume | None:
            db.execute("UPDATE volumes SET name = ? WHERE id = ?", (name, volume_id))
            return VOLUMES.first(db, "WHERE id = ?", (volume_id,))

        return await self._writer.do(work)

    async def users(self, volume_id: str) -> Sequence[str]:
        return await self._reader.do(lambda db: [row[0] for row in db.execute(_USERS, (*_LIVING, volume_id))])

    async def delete(self, volume_id: str) -> bool:
        sql = f"DELETE FROM volumes WHERE id = ? AND NOT EXISTS ({_USERS})"  # noqa: S608 (ours)
        return await self._writer.do(lambda db: db.execute(sql, (volume_id, *_LIVING, volume_id)).rowcount == 1)


class SqliteSandboxSecrets:
    """`ports.SandboxSecretRows`."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, secret: SandboxSecret) -> None:
        await self._writer.do(lambda db: SECRETS.insert(db, secret))

    async def find(self, owner: str, reference: str) -> SandboxSecret | None:
        rest = "WHERE owner = ? AND (id = ? OR name = ?) ORDER BY id = ? DESC"
        return await self._reader.do(lambda db: SECRETS.first(db, rest, (owner, reference, reference, reference)))

    async def list(self, owner: str, *, limit: int, after: str = "") -> Sequence[SandboxSecret]:
        rest = "WHERE owner = ? AND name > ? ORDER BY name LIMIT ?"
        return await self._reader.do(lambda db: SECRETS.all(db, rest, (owner, after, limit)))

    async def everyone(self) -> Sequence[SandboxSecret]:
        return await self._reader.do(lambda db: SECRETS.all(db, "ORDER BY id"))

    async def change(self, secret: SandboxSecret, expected: int) -> bool:
        columns = [column for column in SECRETS.columns if column != "id"]
        sets = ", ".join(f"{column} = ?" for column in columns)
        sql = f"UPDATE sandbox_secrets SET {sets} WHERE id = ? AND version = ?"  # noqa: S608 (our names)
        values = [encode(getattr(secret, column)) for column in columns]
        return await self._writer.do(lambda db: db.execute(sql, [*values, secret.id, expected]).rowcount == 1)

    async def remove(self, secret_id: str) -> bool:
        return await self._writer.do(lambda db: db.execute("DELETE FROM sandbox_secrets WHERE id = ?", (secret_id,)).rowcount == 1)
