"""`/v1/jobs/{id}`: how a job stands, its events as they come, its end before its time."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from sandkit.wire.gateway import VALIDATION_ERROR, Refusal
from sandyard.domain.calls import Job
from sandyard.web.gateway import render
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, GatewayParts, PartsNow
from sandyard.web.gateway.streams import EventStream

if TYPE_CHECKING:
    from sandyard.domain.callers import Caller
    from sandyard.web.gateway.streams import Line

router = APIRouter(tags=["jobs"], responses=ERRORS)
_NUMBER = re.compile(r"\d{1,9}")


@router.get("/v1/jobs/{job_id}", operation_id="get_job")
async def get_job(job_id: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return the job's state, and its results when it has ended."""
    return render.job(await parts.jobs.get(caller, job_id))


@router.delete("/v1/jobs/{job_id}", operation_id="cancel_job")
async def cancel_job(job_id: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """End a running job and return it ended; one that has ended already is returned as it is."""
    return render.job(await parts.jobs.cancel(caller, job_id))


@router.get("/v1/jobs/{job_id}/events", operation_id="job_events", response_class=Response)
async def job_events(job_id: str, request: Request, caller: CallerNow, parts: PartsNow) -> Response:
    """Stream the job's events; `Last-Event-ID` goes on after that one. The last event is the job's own `done` or `error`."""
    last = request.headers.get("last-event-id", "0")
    if not _NUMBER.fullmatch(last):
        raise Refusal(VALIDATION_ERROR, "Last-Event-ID must be the id of an event of this stream", pointer="/headers/last-event-id")
    await parts.jobs.get(caller, job_id)
    return EventStream(lambda line: _events(line, parts, caller, job_id, int(last)), parts.settings.gateway.heartbeat)


async def _events(line: Line, parts: GatewayParts, caller: Caller, job_id: str, after: int) -> None:
    number = after
    async for event in parts.jobs.events(caller, job_id, after):
        if isinstance(event, Job):
            await line.event(render.job_event(event), number + 1)
            return
        number = event.number
        await line.event({**event.data, "call": event.call}, number)
