"""Refused credentials in the audit, so that a flood of them fills no disk: counted by address, written together, once a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.domain.callers import Caller
from sandyard.domain.errors import StoreError

if TYPE_CHECKING:
    from sandyard.services.prefabs.neighbours import Audit

SECONDS = 60.0
ADDRESSES = 32
"""How many addresses have an entry of their own in a minute; the others have one together."""
OTHERS = "other addresses"
_log = structlog.get_logger("sandyard.audit")


class Refusals:
    """Counts refusals; `run` writes them down: the first at once, those of the following minute after it."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._counts: dict[tuple[str, str], int] = {}
        self._news = asyncio.Event()

    def count(self, address: str, what: str) -> None:
        """Count a refused credential: where it came from, and what was shown (`API key`, `token`); never its text."""
        known = (address, what) in self._counts or len(self._counts) < ADDRESSES
        place = (address, what) if known else (OTHERS, "credential")
        self._counts[place] = self._counts.get(place, 0) + 1
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                await self._news.wait()
                await self._write()
                await asyncio.sleep(SECONDS)
        finally:
            with anyio.CancelScope(shield=True):
                await self._write()

    async def _write(self) -> None:
        counts, self._counts = self._counts, {}
        self._news.clear()
        for (address, what), count in counts.items():
            nobody = Caller(tenant="", user="", kind="nobody", credential=address)
            try:
                await self._audit.note(nobody, "auth.refused", what, f"{count} refused")
            except StoreError as error:
                _log.warning("refused credentials were not noted", address=address, count=count, error=str(error))
