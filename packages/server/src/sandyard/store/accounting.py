"""Rows of quotas, reservations, usage, secrets and the audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandyard.domain.accounting import AuditEntry, KeptSecret, Quota, QuotaUsedUp, Reservation, UsageLine
from sandyard.store.rows import Table

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from sandyard.store.worker import Worker

QUOTAS = Table("quotas", Quota)
RESERVATIONS = Table("reservations", Reservation, {"taken": lambda text: tuple((id_, until) for id_, until in json.loads(text))})
USAGE = Table("usage", UsageLine)
SECRETS = Table("prefab_secrets", KeptSecret)
AUDIT = Table("audit", AuditEntry)

_FOREVER = 1e12
_COUNT = """UPDATE quotas SET used = CASE WHEN resets_at <= :now THEN 1 ELSE used + 1 END,
    resets_at = CASE WHEN resets_at <= :now THEN :next ELSE resets_at END
    WHERE id = :id AND amount >= 1 AND (resets_at <= :now OR used + 1 <= amount)"""
_PACE = """UPDATE quotas SET resets_at = max(resets_at, :now) + period / amount
    WHERE id = :id AND amount >= 1 AND max(resets_at, :now) - :now <= period - period / amount + 1e-6"""
_GIVE_BACK = "UPDATE quotas SET used = max(0, used - 1) WHERE id = ? AND kind = 'calls' AND resets_at = ?"
_ADD = """INSERT INTO usage (day, owner, user, key, prefab_id, version, function, calls, succeeded, seconds)
    SELECT ?, owner, user, key, prefab_id, version, function, 1, ?, ? FROM reservations WHERE call = ?
    ON CONFLICT DO UPDATE SET calls = calls + 1, succeeded = succeeded + excluded.succeeded, seconds = seconds + excluded.seconds"""


class _Rows:
    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader


class SqliteQuotas(_Rows):
    """`ports.QuotaRows`."""

    async def put(self, quota: Quota) -> None:
        def work(db: sqlite3.Connection) -> None:
            same = "DELETE FROM quotas WHERE owner = ? AND user = ? AND key = ? AND prefab_id = ? AND kind = ?"
            db.execute(same, (quota.owner, quota.user, quota.key, quota.prefab_id, quota.kind))
            QUOTAS.insert(db, quota)

        await self._writer.do(work)

    async def ensure(self, quota: Quota) -> None:
        rest = "WHERE owner = ? AND user = ? AND key = ? AND prefab_id = ? AND kind = ?"

        def work(db: sqlite3.Connection) -> None:
            if QUOTAS.first(db, rest, (quota.owner, quota.user, quota.key, quota.prefab_id, quota.kind)) is None:
                QUOTAS.insert(db, quota)

        await self._writer.do(work)

    async def list(self) -> Sequence[Quota]:
        return await self._reader.do(lambda db: QUOTAS.all(db, "ORDER BY owner, prefab_id, key, user, kind"))

    async def remove(self, quota_id: str) -> bool:
        return await self._writer.do(lambda db: db.execute("DELETE FROM quotas WHERE id = ?", (quota_id,)).rowcount == 1)

    async def reserve(self, reservation: Reservation, now: float) -> None:
        applies = "WHERE owner = ? AND user IN ('', ?) AND key IN ('', ?) AND prefab_id IN ('', ?) ORDER BY kind DESC, id"

        def work(db: sqlite3.Connection) -> None:
            wanted = (reservation.owner, reservation.user, reservation.key, reservation.prefab_id)
            taken = [_take(db, quota, now) for quota in QUOTAS.all(db, applies, wanted)]
            RESERVATIONS.insert(db, reservation)
            if taken:
                db.execute("UPDATE reservations SET taken = ? WHERE call = ?", (json.dumps(taken), reservation.call))

        await self._writer.do(work)

    async def settle(self, call: str, day: str, *, succeeded: bool, seconds: float) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            db.execute(_ADD, (day, succeeded, seconds, call))
            return db.execute("DELETE FROM reservations WHERE call = ?", (call,)).rowcount == 1

        return await self._writer.do(work)

    async def release(self, call: str) -> bool:
        return await self._writer.do(lambda db: _release(db, "WHERE call = ?", (call,)) == 1)

    async def expire(self, before: float | None) -> int:
        return await self._writer.do(lambda db: _release(db, "WHERE ? IS NULL OR expires_at <= ?", (before, before)))

    async def reserved(self) -> int:
        return await self._reader.do(lambda db: db.execute("SELECT count(*) FROM reservations").fetchone()[0])

    async def usage(self, owner: str | None, since: str) -> Sequence[UsageLine]:
        rest = "WHERE (? IS NULL OR owner = ?) AND day >= ? ORDER BY day, owner, user, key, prefab_id, version, function"
        return await self._reader.do(lambda db: USAGE.all(db, rest, (owner, owner, since)))


def _take(db: sqlite3.Connection, quota: Quota, now: float) -> tuple[str, float]:
    """Take one call's share by one conditional UPDATE; return which window it was taken in."""
    following = (now // quota.period + 1) * quota.period if quota.period else _FOREVER
    sql = _COUNT if quota.kind == "calls" else _PACE
    if db.execute(sql, {"id": quota.id, "now": now, "next": following}).rowcount:
        (until,) = db.execute("SELECT resets_at FROM quotas WHERE id = ?", (quota.id,)).fetchone()
        return quota.id, until
    if quota.kind == "calls":
        raise QuotaUsedUp(quota, max(0.0, quota.resets_at - now) if quota.amount else quota.period or _FOREVER)
    raise QuotaUsedUp(quota, max(quota.resets_at, now) - now - quota.period + quota.period / max(1, quota.amount))


def _release(db: sqlite3.Connection, rest: str, values: Sequence[object]) -> int:
    """Give back what the reservations took, and forget them."""
    found = RESERVATIONS.all(db, rest, values)
    for reservation in found:
        db.executemany(_GIVE_BACK, reservation.taken)
        db.execute("DELETE FROM reservations WHERE call = ?", (reservation.call,))
    return len(found)


class SqliteSecrets(_Rows):
    """`ports.SecretRows`."""

    async def put(self, secret: KeptSecret) -> None:
        sql = """INSERT INTO prefab_secrets (owner, user, prefab_id, name, sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at"""
        values = (secret.owner, secret.user, secret.prefab_id, secret.name, secret.sealed, secret.created_at, secret.updated_at)
        await self._writer.do(lambda db: db.execute(sql, values).rowcount)

    async def list(self, owner: str, user: str, prefab_id: str | None = None) -> Sequence[KeptSecret]:
        rest = "WHERE owner = ? AND user = ? AND (? IS NULL OR prefab_id = ?) ORDER BY prefab_id, name"
        return await self._reader.do(lambda db: SECRETS.all(db, rest, (owner, user, prefab_id, prefab_id)))

    async def everyone(self) -> Sequence[KeptSecret]:
        return await self._reader.do(lambda db: SECRETS.all(db, "ORDER BY owner, user, prefab_id, name"))

    async def reseal(self, secret: KeptSecret, sealed: str) -> bool:
        sql = "UPDATE prefab_secrets SET sealed = ? WHERE owner = ? AND user = ? AND prefab_id = ? AND name = ? AND sealed = ?"
        values = (sealed, secret.owner, secret.user, secret.prefab_id, secret.name, secret.sealed)
        return await self._writer.do(lambda db: db.execute(sql, values).rowcount == 1)

    async def remove(self, owner: str, user: str, prefab_id: str, name: str) -> bool:
        sql = "DELETE FROM prefab_secrets WHERE owner = ? AND user = ? AND prefab_id = ? AND name = ?"
        return await self._writer.do(lambda db: db.execute(sql, (owner, user, prefab_id, name)).rowcount == 1)


class SqliteAudit(_Rows):
    """`ports.AuditRows`."""

    async def append(self, make: Callable[[AuditEntry | None], AuditEntry]) -> None:
        def work(db: sqlite3.Connection) -> None:
            AUDIT.insert(db, make(AUDIT.first(db, "ORDER BY number DESC LIMIT 1", ())))

        await self._writer.do(work)

    async def read(self, after: int, limit: int) -> Sequence[AuditEntry]:
        return await self._reader.do(lambda db: AUDIT.all(db, "WHERE number > ? ORDER BY number LIMIT ?", (after, limit)))

    async def last(self) -> AuditEntry | None:
        return await self._reader.do(lambda db: AUDIT.first(db, "ORDER BY number DESC LIMIT 1", ()))
