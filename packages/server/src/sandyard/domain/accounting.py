"""What callers may use and have used, what they keep secret, and who did what: rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

QuotaKind = Literal["calls", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A row: `amount` calls in `period` seconds (0: for ever), of one tenant.

    An empty `user`, `key` or `prefab_id` means every one, all of them together. `calls` counts in fixed windows; `rate` is even
    (GCRA): a burst of `amount`, then one call every `period / amount` seconds.
    """

    id: str
    owner: str
    user: str = ""
    key: str = ""
    prefab_id: str = ""
    kind: QuotaKind
    amount: int
    period: float
    used: int = 0
    resets_at: float = 0.0

    @property
    def about(self) -> str:
        """What the quota is called where it refuses."""
        parts = [("key", self.key), ("user", self.user), ("prefab", self.prefab_id)]
        return "_per_".join([self.kind, *(name for name, value in parts if value)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A row: the share of one call. `taken` are the quotas that it counts in, each with the end of the window."""

    call: str
    owner: str
    user: str
    key: str
    prefab_id: str
    version: str
    function: str
    taken: tuple[tuple[str, float], ...] = ()
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """A row: what was used of one function on one day (UTC, `2026-11-21`) with one key; `seconds` is how long its calls took."""

    day: str
    owner: str
    user: str
    key: str
    prefab_id: str
    version: str
    function: str
    calls: int
    succeeded: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSecret:
    """A row: a user's secret for one prefab, sealed (`services.envelopes`)."""

    owner: str
    user: str
    prefab_id: str
    name: str
    sealed: str
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A row: who did what, with what outcome; `digest` chains it to the entry before."""

    number: int
    at: float
    owner: str
    user: str
    credential: str
    action: str
    subject: str
    outcome: str
    digest: str


class QuotaUsedUp(Exception):  # noqa: N818 (what happened)
    """A quota has nothing left; nothing was taken from any. `quota` is as it stands, `wait` how long until there is more, in seconds."""

    def __init__(self, quota: Quota, wait: float) -> None:
        super().__init__(quota.about)
        self.quota = quota
        self.wait = wait
