"""API keys: shown once, kept as a digest under a pepper, looked up in memory.

A key is `sk-`, its id (20 hex digits, those of its row), a secret of 256 bits (64) and a checksum (8), by which a key that was cut or
mistyped is refused without a look (gateway-contract §4.1). Keys of 40 hex digits, as the first versions made them, stay good. All of it
is hexadecimal, since some versions of `e2b` accept nothing else behind their `e2b_`.

Other processes write rows too (`sandyard key revoke` while the server runs, perhaps from another container on the same
directory, where no signal and no loopback address reaches the server). So a running server reads the few rows again twice a
second (`Keys.watch`): a revocation acts within a second whoever wrote it, and no request waits for the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import zlib
from typing import TYPE_CHECKING

import structlog

from sandyard.domain.callers import operator
from sandyard.domain.errors import StoreUnavailable
from sandyard.domain.keys import ApiKey
from sandyard.services.secrets_dir import create_once

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandyard.ports import Clock, KeyRows
    from sandyard.services.prefabs.neighbours import Audit

PEPPER_FILE = "pepper"
REFRESH_SECONDS = 0.5

_FORM = re.compile(r"(?:sk-|e2b_)([0-9a-f]{92}|[0-9a-f]{40})")
_OLD, _ID, _CHECKSUM = 40, 20, 8

log = structlog.stdlib.get_logger(__name__)


def is_platform_key(text: str) -> bool:
    """Tell whether a credential has the form of one of our keys, known or not: such a one is never passed on to an agent."""
    return _FORM.fullmatch(text) is not None


def spelled(key_id: str, secret: str) -> str:
    """Return the text of the key with that row and that secret (64 hex digits)."""
    body = key_id.removeprefix("k") + secret
    return f"sk-{body}{_checksum(body)}"


def is_whole(text: str) -> bool:
    """Tell whether a key can be one at all: its form and, where it has one, its checksum are right."""
    form = _FORM.fullmatch(text)
    return form is not None and (len(form[1]) == _OLD or _checksum(form[1][:-_CHECKSUM]) == form[1][-_CHECKSUM:])


def why_refused(text: str) -> str:
    """Return what to tell of a key that is nobody's."""
    return "This API key is unknown or revoked" if is_whole(text) else "This API key was cut or mistyped"


class Keys:
    """The keys of one server. `pepper` is what makes the digests useless without the secrets directory."""

    def __init__(self, rows: KeyRows, audit: Audit, clock: Clock, pepper: bytes) -> None:
        self._rows = rows
        self._audit = audit
        self._clock = clock
        self._pepper = pepper
        self._active: dict[str, ApiKey] = {}
        self._by_id: dict[str, ApiKey] = {}
        self._refreshed = float("-inf")

    @classmethod
    async def open(cls, rows: KeyRows, audit: Audit, clock: Clock, secrets_dir: Path) -> Keys:
        """Read the rows and the pepper, which is made on the first start.

        Raises:
            StoreUnavailable: the rows cannot be read.
        """
        pepper = await asyncio.to_thread(create_once, secrets_dir / PEPPER_FILE, lambda: secrets.token_bytes(32))
        keys = cls(rows, audit, clock, pepper)
        await keys.refresh()
        return keys

    def owner_of(self, presented: str) -> str | None:
        """Return whose key this is, or None. Touches memory only; what timing could tell is a digest, not the key."""
        key = self.look(presented)
        return None if key is None else key.owner

    def look(self, presented: str) -> ApiKey | None:
        """As `owner_of`, but return the key's row."""
        form = _FORM.fullmatch(presented)
        if form is None or not is_whole(presented):
            return None
        digest = self._digest(form[1])
        if len(form[1]) == _OLD:
            return self._active.get(digest)
        row = self._by_id.get("k" + form[1][:_ID])
        return row if hmac.compare_digest(digest, "" if row is None else row.digest) else None

    def is_active(self, key_id: str) -> bool:
        """Whether a key of that id is there and not revoked. Touches memory only."""
        return key_id in self._by_id

    async def find(self, presented: str) -> str | None:
        """As `owner_of`, but an unknown key, which may be new, is refused only after the rows have been read since it was presented
        (within `REFRESH_SECONDS`, and no oftener, however many ask).
        """
        owner = self.owner_of(presented)
        if owner is not None or not is_whole(presented):
            return owner
        loop = asyncio.get_running_loop()
        asked, due = loop.time(), self._refreshed + REFRESH_SECONDS  # a loop's time stands still within one of its turns
        await asyncio.sleep(due - asked)
        if self._refreshed <= asked:
            await self.refresh()
        return self.owner_of(presented)

    def secret_of(self, presented: str) -> str:
        """Return the secret that signs in this key's name; it follows from the key and the pepper, so that none is kept.

        Raises:
            ValueError: this has not the form of a key.
        """
        form = _FORM.fullmatch(presented)
        if form is None:
            raise ValueError("not a platform key")
        return "ss-" + hmac.new(self._pepper, b"secret:" + self._digest(form[1]).encode(), hashlib.sha256).hexdigest()

    async def create(self, name: str, owner: str = "default") -> tuple[ApiKey, str]:
        """Make a key; return its row and its text, which is kept nowhere.

        Raises:
            StoreUnavailable: the row cannot be written; there is no key then.
        """
        key_id = "k" + secrets.token_hex(_ID // 2)
        text = spelled(key_id, secrets.token_hex(32))
        key = ApiKey(
            id=key_id,
            owner=owner,
            name=name,
            digest=self._digest(text.removeprefix("sk-")),
            hint=text[-4:],
            created_at=self._clock.now(),
        )
        await self._rows.add(key)
        await self._audit.note(operator(owner), "key.create", key.id, name)
        await self.refresh()
        return key, text

    async def list(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first, the revoked ones too."""
        return await self._rows.list()

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key at once; False if there is none of that id, or it is revoked already."""
        done = await self._rows.revoke(key_id, self._clock.now())
        if done:
            owner = next(row.owner for row in await self._rows.list() if row.id == key_id)
            await self._audit.note(operator(owner), "key.revoke", key_id, "SUCCESS")
        await self.refresh()
        return done

    async def refresh(self) -> None:
        """Read the rows again."""
        began = asyncio.get_running_loop().time()
        rows = await self._rows.list()
        self._active = {row.digest: row for row in rows if row.revoked_at is None}
        self._by_id = {row.id: row for row in self._active.values()}
        self._refreshed = began

    async def watch(self) -> None:
        """Read the rows again and again until cancelled; the server's task group owns this."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                log.warning("keys_not_refreshed", reason=str(error))

    def _digest(self, body: str) -> str:
        return hmac.new(self._pepper, body.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
