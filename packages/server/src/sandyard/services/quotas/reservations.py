"""What callers may use: a share is reserved before a call, and settled or given back after it, whatever happens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sandkit.wire.gateway import QUOTA_EXCEEDED, RATE_LIMITED, Refusal
from sandyard.domain.accounting import Quota, QuotaUsedUp, Reservation
from sandyard.domain.errors import StoreError

if TYPE_CHECKING:
    from sandyard.config import IdentitySettings
    from sandyard.domain.callers import Caller
    from sandyard.ports import Clock
    from sandyard.ports_accounting import QuotaRows
    from sandyard.services.prefabs.neighbours import CallRef

DAY = 86400.0
_SWEEP_SECONDS = 10.0
_log = structlog.get_logger("sandyard.quotas")


class Reservations:
    """`neighbours.Quotas` over the store."""

    def __init__(self, rows: QuotaRows, identity: IdentitySettings, clock: Clock) -> None:
        self._rows = rows
        self._identity = identity
        self._clock = clock
        self._listed_once = False

    async def reserve(self, caller: Caller, ref: CallRef) -> None:
        """Take the call's share of every quota that applies, or nothing."""
        if caller.kind == "listed":
            await self._bound_listed()
        reservation = Reservation(
            call=ref.id,
            owner=caller.tenant,
            user=caller.user,
            key=caller.key or "",
            prefab_id=ref.prefab_id,
            version=ref.version,
            function=ref.function,
            expires_at=ref.ends_at,
        )
        try:
            await self._rows.reserve(reservation, self._clock.now())
        except QuotaUsedUp as error:
            raise _refusal(error, self._clock.now()) from None

    async def settle(self, ref: CallRef, *, seconds: float, succeeded: bool) -> None:
        """Note what a call that ran has used."""
        day = datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
        try:
            await self._rows.settle(ref.id, day, succeeded=succeeded, seconds=seconds)
        except StoreError as error:
            _log.warning("a call could not be settled; its reservation will expire", call=ref.id, error=str(error))

    async def release(self, ref: CallRef) -> None:
        """Give back what was reserved for a call that never ran."""
        try:
            await self._rows.release(ref.id)
        except StoreError as error:
            _log.warning("a reservation could not be given back; it will expire", call=ref.id, error=str(error))

    async def recover(self) -> int:
        """Give back all that a dead server left; call it before any call may be reserved."""
        return await self._rows.expire(None)

    async def run(self) -> None:
        """Give back what was neither settled nor released in its time, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                expired = await self._rows.expire(self._clock.now())
            except StoreError as error:
                _log.warning("reservations were not looked at", error=str(error))
            else:
                if expired:
                    _log.warning("reservations expired", count=expired)

    async def _bound_listed(self) -> None:
        """See that who is known by an address only has a quota of his own."""
        if not self._listed_once:
            identity = self._identity
            quota = Quota(
                id="listed", owner=identity.listed_tenant, user=identity.listed_user, kind="calls", amount=identity.listed_calls, period=DAY
            )
            await self._rows.ensure(quota)
            self._listed_once = True


def _refusal(error: QuotaUsedUp, now: float) -> Refusal:
    quota = error.quota
    if quota.kind == "rate":
        message = f"There are more calls than the {quota.amount} in {quota.period:.0f} seconds that may be made"
        return Refusal(
            RATE_LIMITED, message, limit=quota.amount, quota_type=quota.about, retry_after=max(1.0, error.wait), window=quota.period
        )
    resets = now + error.wait if quota.period else None
    used = min(quota.used, quota.amount)
    message = f"The quota of {quota.amount} calls is used up"
    details = {"limit": quota.amount, "used": used, "quota_type": quota.about, "reset_at": resets, "window": quota.period}
    return Refusal(QUOTA_EXCEEDED, message, **details, **({"retry_after": max(1.0, error.wait)} if quota.period else {}))
