"""The store's ports for what callers keep and use: files, quotas, secrets, the audit. Part of `ports.Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandyard.domain.accounting import AuditEntry, KeptSecret, Quota, Reservation, UsageLine
    from sandyard.domain.calls import CallLog, Webhook
    from sandyard.domain.files import File, FileKind


class FileRows(Protocol):
    """Rows of files; what an owner stores is counted with them."""

    async def add(self, file: File) -> None: ...

    async def add_within(self, file: File, limit: int) -> tuple[bool, int]:
        """Add a file with the size that it will have if its owner then has at most `limit` bytes, in one statement.

        Return whether it is so, and what the owner has now.
        """
        ...

    async def get(self, key: str) -> File | None: ...

    async def begin(self, key: str, now: float, until: float) -> File | None:
        """Let one upload write: PENDING and not over becomes WRITING, kept until `until` at least. None: it may not."""
        ...

    async def grow(self, key: str, size: int, limit: int, until: float) -> tuple[bool, int]:
        """Reserve `size` bytes for what is written if its owner then has at most `limit`, in one statement.

        Return whether it is so, and what the owner has now.
        """
        ...

    async def finish(self, key: str, size: int, expires_at: float | None, now: float) -> bool:
        """WRITING becomes READY; False if it was swept meanwhile."""
        ...

    async def arrive(self, key: str, now: float) -> bool:
        """PENDING with a size becomes READY for good; False if it is something else meanwhile."""
        ...

    async def overdue(self, now: float, limit: int) -> Sequence[File]:
        """Return PENDING files with a size whose time is over."""
        ...

    async def give_up(self, key: str | None) -> int:
        """WRITING becomes PENDING without bytes: one upload, or (None) all that a dead server left."""
        ...

    async def hide(self, keys: Sequence[str]) -> None: ...

    async def hide_session(self, owner: str, user: str, agent: str, session: str) -> Sequence[str]:
        """Hide the ready files of exactly that session; return their keys."""
        ...

    async def hide_ended(self, now: float, limit: int) -> Sequence[str]:
        """Hide what is over, but for what `overdue` returns; return the keys of all that is hidden, up to `limit`."""
        ...

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete hidden rows, whose bytes are gone."""
        ...

    async def list(
        self, owner: str, user: str, kind: FileKind, *, agent: str, session: str | None, after: str, limit: int, now: float
    ) -> Sequence[File]:
        """Return the ready files of that kind by key, from the one after `after`."""
        ...

    async def stored(self, owner: str) -> int:
        """Return how many bytes the owner has."""
        ...


class QuotaRows(Protocol):
    """Rows of quotas, of what is reserved in them, and of what was used."""

    async def put(self, quota: Quota) -> None:
        """Insert, in place of one for the same."""
        ...

    async def ensure(self, quota: Quota) -> None:
        """Insert unless there is one for the same."""
        ...

    async def list(self) -> Sequence[Quota]: ...

    async def remove(self, quota_id: str) -> bool: ...

    async def reserve(self, reservation: Reservation, now: float) -> None:
        """Take one call from every quota that applies, or nothing; each by one conditional statement.

        Raises:
            QuotaUsedUp: one has nothing left.
        """
        ...

    async def settle(self, call: str, day: str, *, succeeded: bool, seconds: float) -> bool:
        """Turn a reservation into usage; False if there is none."""
        ...

    async def release(self, call: str) -> bool:
        """Give back what a reservation took; False if there is none."""
        ...

    async def expire(self, before: float | None) -> int:
        """Release the reservations whose time is over, or (None) all; return how many."""
        ...

    async def reserved(self) -> int: ...

    async def usage(self, owner: str | None, since: str) -> Sequence[UsageLine]:
        """Return what was used from that day on."""
        ...


class SecretRows(Protocol):
    """Rows of sealed secrets."""

    async def put(self, secret: KeptSecret) -> None:
        """Insert or replace."""
        ...

    async def list(self, owner: str, user: str, prefab_id: str | None = None) -> Sequence[KeptSecret]: ...

    async def everyone(self) -> Sequence[KeptSecret]: ...

    async def reseal(self, secret: KeptSecret, sealed: str) -> bool:
        """Replace the sealed value unless it was changed meanwhile."""
        ...

    async def remove(self, owner: str, user: str, prefab_id: str, name: str) -> bool: ...


class AuditRows(Protocol):
    """Rows of the audit: they are added and read, never changed."""

    async def append(self, make: Callable[[AuditEntry | None], AuditEntry]) -> None:
        """Add the entry that `make` gives for the last one there is, in one transaction."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[AuditEntry]: ...

    async def last(self) -> AuditEntry | None: ...


class CallLogRows(Protocol):
    """Rows of what calls have printed."""

    async def add(self, log: CallLog, most: int) -> None:
        """Add a log with the next number; of its owner's the newest `most` stay."""
        ...

    async def of_job(self, owner: str, user: str, job_id: str) -> Sequence[CallLog]: ...

    async def of_prefab(self, owner: str, user: str, prefab_id: str, *, after: int | None, limit: int) -> Sequence[CallLog]:
        """Return logs by number: those after one, or (None) the newest."""
        ...

    async def forget(self, before: float) -> int:
        """Remove those from before a time; return how many."""
        ...


class WebhookRows(Protocol):
    """Rows of who is to be told that a job has ended; they go with their jobs."""

    async def add(self, webhook: Webhook) -> None: ...

    async def due(self, now: float, limit: int) -> Sequence[Webhook]:
        """Return those whose job has ended and whose time has come."""
        ...

    async def next_due(self) -> float | None:
        """Return when the first one of an ended job is due."""
        ...

    async def put_off(self, webhook: Webhook) -> None:
        """Set attempts and time."""
        ...

    async def remove(self, job_id: str) -> None: ...
