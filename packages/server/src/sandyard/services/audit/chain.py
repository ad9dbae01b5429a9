"""The audit: each entry's digest covers the entry and the digest before it, under a key that does not lie in the database.

Who can write the database alone can neither change, insert, reorder nor drop an entry in the middle unnoticed; that the newest ones
are all there is seen by comparing with a head that was noted elsewhere (`sandyard audit verify --head`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.domain.accounting import AuditEntry
from sandyard.services.secrets_dir import create_once

if TYPE_CHECKING:
    from pathlib import Path

    from sandyard.domain.callers import Caller
    from sandyard.ports import Clock
    from sandyard.ports_accounting import AuditRows

KEY_FILE = "audit_key"
_PAGE = 1000
_TEXT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verifying found: how many entries are good, the last good digest, and what is wrong at the next one (None: nothing)."""

    entries: int
    head: str
    problem: str | None = None


class Chain:
    """`neighbours.Audit` over the store."""

    def __init__(self, rows: AuditRows, key: bytes, clock: Clock) -> None:
        self._rows = rows
        self._key = key
        self._clock = clock

    @classmethod
    async def open(cls, rows: AuditRows, secrets_dir: Path, clock: Clock) -> Chain:
        """Take the key, which is made on the first start."""
        return cls(rows, await asyncio.to_thread(create_once, secrets_dir / KEY_FILE, lambda: secrets.token_bytes(32)), clock)

    async def note(self, caller: Caller, action: str, subject: str, outcome: str) -> None:
        """Append an entry."""
        now = self._clock.now()

        def make(last: AuditEntry | None) -> AuditEntry:
            number, before = (1, "") if last is None else (last.number + 1, last.digest)
            texts = (caller.tenant, caller.user, caller.credential, action, subject, outcome)
            owner, user, credential, *rest = (text[:_TEXT] for text in texts)
            digest = self._digest(before, number, now, owner, user, credential, *rest)
            act, about, how = rest
            return AuditEntry(
                number=number, at=now, owner=owner, user=user, credential=credential, action=act, subject=about, outcome=how, digest=digest
            )

        await self._rows.append(make)

    async def verify(self, head: tuple[int, str] | None = None) -> Verdict:
        """Go through all entries; `head` is a number and its digest that must be among them."""
        good, before = 0, ""
        while page := await self._rows.read(good, _PAGE):
            for entry in page:
                texts = (entry.owner, entry.user, entry.credential, entry.action, entry.subject, entry.outcome)
                if entry.number != good + 1:
                    return Verdict(entries=good, head=before, problem=f"entry {good + 1} is missing")
                if not hmac.compare_digest(entry.digest, self._digest(before, entry.number, entry.at, *texts)):
                    return Verdict(entries=good, head=before, problem=f"entry {entry.number} was changed, or one before it replaced")
                if head is not None and head[0] == entry.number and head[1] != entry.digest:
                    return Verdict(entries=good, head=before, problem=f"entry {entry.number} is another one than was noted")
                good, before = entry.number, entry.digest
        if head is not None and head[0] > good:
            return Verdict(entries=good, head=before, problem=f"entry {good + 1} is missing: {head[0]} were noted")
        return Verdict(entries=good, head=before)

    def _digest(self, before: str, number: int, at: float, *texts: str) -> str:
        return hmac.new(self._key, json.dumps([before, number, at, *texts]).encode(), hashlib.sha256).hexdigest()
