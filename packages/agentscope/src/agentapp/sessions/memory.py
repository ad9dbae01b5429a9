"""State in memory: gone with the process. For tests, and for apps whose sessions need not survive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentapp.errors import SessionConflict
from agentapp.sessions.ports import Key, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemoryStore:
    """A `SessionStore` in dictionaries."""

    def __init__(self) -> None:
        self._rows: dict[Key, tuple[Stored, float | None]] = {}
        self._leases: dict[Key, tuple[str, float]] = {}

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing: what is kept stays for the next `open`."""

    async def load(self, key: Key, now: float) -> Stored | None:
        """Return what is kept."""
        stored, expires_at = self._rows.get(key, (None, None))
        return None if expires_at is not None and expires_at <= now else stored

    async def save(self, key: Key, modules: Mapping[str, bytes], *, expected: int | None, expires_at: float | None, now: float) -> int:
        """Put modules in."""
        old = await self.load(key, now)
        version = old.version if old else 0
        if expected is not None and expected != version:
            raise SessionConflict(f"the session {key.session!r} was saved by somebody else since this request has read it")
        self._rows[key] = (Stored(version + 1, {**(old.modules if old else {}), **modules}), expires_at)
        return version + 1

    async def delete(self, key: Key) -> None:
        """Forget the session's state."""
        self._rows.pop(key, None)

    async def lease(self, key: Key, owner: str, until: float, now: float) -> bool:
        """Let only `owner` work on the session."""
        holder, ends_at = self._leases.get(key, (owner, until))
        if holder != owner and ends_at > now:
            return False
        self._leases[key] = (owner, until)
        return True

    async def release(self, key: Key, owner: str) -> None:
        """End the lease."""
        if self._leases.get(key, ("", 0.0))[0] == owner:
            del self._leases[key]
