"""What sandboxes are, use, print, and what happened to them."""

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query

from sandkit.wire.errors import NOT_IMPLEMENTED, SANDBOX_NOT_FOUND, ApiError
from sandkit.wire.sandboxes import (
    SandboxDetail,
    SandboxesMetrics,
    SandboxEvent,
    SandboxLogs,
    SandboxLogsV2,
    SandboxMetric,
    SandboxQuota,
)
from sandyard.domain.errors import NotSupported
from sandyard.web import render
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services  # noqa: TC001 (FastAPI resolves the annotations at run time)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.services.metering import Metric

router = APIRouter(tags=["sandboxes"], responses=ERRORS)

_MILLISECONDS_FROM = 1e11
"""A time above this is in milliseconds: in seconds it would be the year 5138."""
_LEVELS = ("debug", "info", "warn", "error")
_PRINTED = _LEVELS.index("info")
"""The level of what commands print: nothing tells an error from another line."""

Moment = Annotated[float | None, Query(ge=0)]
Limit = Annotated[int, Query(ge=0, le=1000)]
Offset = Annotated[int, Query(ge=0)]
Types = Annotated[list[str] | None, Query()]


@router.get("/sandboxes/quota", operation_id="sandbox_quota")
async def quota(owner: Owner, services: Services) -> SandboxQuota:
    """Say how many sandboxes this server holds and may hold, and how large one may be."""
    return render.quota(await services.sandboxes.quota(owner), services.settings.limits)


@router.get("/sandboxes/metrics", operation_id="sandboxes_metrics")
async def all_metrics(owner: Owner, services: Services, sandbox_ids: Annotated[list[str], Query(max_length=100)]) -> SandboxesMetrics:
    """Return the latest metric of each sandbox that there is."""
    found: dict[str, SandboxMetric] = {}
    for id_ in (id_ for ids in sandbox_ids for id_ in ids.split(",") if id_):
        try:
            metrics = await _metrics(owner, services, id_, None, None)
        except ApiError as error:
            if error.problem is not SANDBOX_NOT_FOUND:
                raise
            continue
        if metrics:
            found[id_] = render.metric(metrics[-1])
    return SandboxesMetrics(sandboxes=found)


@router.get("/sandboxes/events", operation_id="sandboxes_events", response_model_exclude_none=True)
@router.get("/events/sandboxes", include_in_schema=False, response_model_exclude_none=True)
async def all_events(
    owner: Owner,
    services: Services,
    sandbox_id: Annotated[str | None, Query(alias="sandboxID", max_length=100)] = None,
    types: Types = None,
    offset: Offset = 0,
    limit: Limit = 100,
    order_asc: Annotated[bool, Query(alias="orderAsc")] = False,
) -> list[SandboxEvent]:
    """List what happened to the caller's sandboxes in the last week, newest first."""
    words = [word for value in types or () for word in value.split(",") if word]
    events = await services.sandboxes.events(owner, sandbox_id=sandbox_id, types=words, offset=offset, limit=limit, oldest_first=order_asc)
    return [render.event(event) for event in events]


@router.get("/events/sandboxes/{sandbox_id}", operation_id="sandbox_events", response_model_exclude_none=True)
async def events(
    sandbox_id: str,
    owner: Owner,
    services: Services,
    types: Types = None,
    offset: Offset = 0,
    limit: Limit = 100,
    order_asc: Annotated[bool, Query(alias="orderAsc")] = False,
) -> list[SandboxEvent]:
    """List what happened to a sandbox, also after its end."""
    if not await services.sandboxes.events(owner, sandbox_id=sandbox_id, types=(), offset=0, limit=1, oldest_first=False):
        await services.sandboxes.get(owner, sandbox_id)
    return await all_events(owner, services, sandbox_id, types, offset, limit, order_asc)


@router.get("/sandboxes/{sandbox_id}", operation_id="get_sandbox", response_model_exclude_none=True)
async def get(sandbox_id: str, owner: Owner, services: Services) -> SandboxDetail:
    """Describe a sandbox, with the isolation that it achieved."""
    return render.sandbox_detail(await services.sandboxes.get(owner, sandbox_id))


@router.get("/sandboxes/{sandbox_id}/metrics", operation_id="sandbox_metrics")
async def metrics(sandbox_id: str, owner: Owner, services: Services, start: Moment = None, end: Moment = None) -> list[SandboxMetric]:
    """Return what a sandbox used in the last hour: a metric each 10 seconds, and one of now. Times in seconds or milliseconds."""
    found = await _metrics(owner, services, sandbox_id, _seconds(start), _seconds(end))
    return [render.metric(metric) for metric in found]


@router.get("/sandboxes/{sandbox_id}/logs", operation_id="sandbox_logs")
async def logs(
    sandbox_id: str,
    owner: Owner,
    services: Services,
    start: Moment = None,
    limit: Annotated[int, Query(ge=0)] = 100_000,
) -> SandboxLogs:
    """Return the last lines that the sandbox's command printed (up to 256 KiB), or the first ones from `start` on."""
    lines = await services.sandboxes.output(owner, sandbox_id)
    since = _seconds(start)
    shown = lines[max(0, len(lines) - limit) :] if since is None else [line for line in lines if line.at >= since][:limit]
    return render.sandbox_logs(shown)


@router.get("/v2/sandboxes/{sandbox_id}/logs", operation_id="sandbox_logs_v2")
async def logs_v2(
    sandbox_id: str,
    owner: Owner,
    services: Services,
    cursor: Moment = None,
    limit: Limit = 1000,
    direction: Literal["forward", "backward"] = "forward",
    level: Literal["debug", "info", "warn", "error"] = "debug",
    search: Annotated[str, Query(max_length=256)] = "",
) -> SandboxLogsV2:
    """Return lines from the time `cursor` on, or before it, newest first; `level` is the lowest, `search` a part of the line."""
    lines = await services.sandboxes.output(owner, sandbox_id)
    if _LEVELS.index(level) > _PRINTED:
        return SandboxLogsV2(logs=[])
    at = _seconds(cursor)
    if direction == "backward":
        found = [line for line in reversed(lines) if (at is None or line.at <= at) and search in line.text]
    else:
        found = [line for line in lines if (at is None or line.at >= at) and search in line.text]
    return SandboxLogsV2(logs=render.log_entries(found[:limit]))


async def _metrics(owner: str, services: Services, sandbox_id: str, start: float | None, end: float | None) -> Sequence[Metric]:
    try:
        return await services.sandboxes.metrics(owner, sandbox_id, start, end)
    except NotSupported as error:
        raise ApiError(NOT_IMPLEMENTED, str(error)) from None


def _seconds(moment: float | None) -> float | None:
    return moment / 1000 if moment is not None and moment > _MILLISECONDS_FROM else moment
