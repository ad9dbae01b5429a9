"""`GET /v1/usage`: what the caller's tenant has used, by day and function, and what its quotas have left."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from sandkit.wire.gateway import PERMISSION_DENIED, Refusal
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow

router = APIRouter(tags=["usage"], responses=ERRORS)
_LONGEST = 366


@router.get("/v1/usage", operation_id="usage")
async def usage(caller: CallerNow, parts: PartsNow, days: Annotated[int, Query(ge=1, le=_LONGEST)] = 30) -> dict[str, Any]:
    """Return the usage of the last days; who has no API key sees the user's own."""
    if caller.kind in {"child", "listed"}:
        raise Refusal(PERMISSION_DENIED, "Usage is shown to the tenant and its users")
    now = datetime.fromtimestamp(parts.clock.now(), UTC)
    since = (now - timedelta(days=days - 1)).date().isoformat()
    lines = [line for line in await parts.quotas.usage(caller.tenant, since) if caller.kind == "key" or line.user == caller.user]
    quotas = [quota for quota in await parts.quotas.list() if quota.owner == caller.tenant and quota.user in {"", caller.user}]
    return {
        "usage": [asdict(line) for line in lines],
        "quotas": [
            {
                "quota_type": quota.about,
                "prefab_id": quota.prefab_id or None,
                "limit": quota.amount,
                "used": _used(quota.used, quota.resets_at, now),
            }
            for quota in quotas
            if quota.kind == "calls"
        ],
        "stored_bytes": {"limit": parts.settings.gateway.files.stored, "used": await parts.files.stored(caller.tenant)},
    }


def _used(used: int, resets_at: float, now: datetime) -> int:
    return used if resets_at > now.timestamp() else 0
