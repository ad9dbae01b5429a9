"""What calls have printed, for whoever called them."""

# ruff: noqa: TC001, PLR0917 (FastAPI resolves the annotations at run time, and passes by name)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from sandyard.web.gateway import render
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow

if TYPE_CHECKING:
    from sandyard.domain.calls import CallLog

router = APIRouter(tags=["logs"], responses=ERRORS)
_MOST = 1000
_WAIT = 60.0
_NUMBER = 2**53


@router.get("/v1/jobs/{job_id}/logs", operation_id="job_logs")
async def job_logs(job_id: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return the last of what each call of the caller's own job has printed; calls that printed nothing are not there."""
    job = await parts.jobs.get(caller, job_id)
    return {"job_id": job.id, "logs": [_log(log) for log in await parts.logs.of_job(caller, job.id)]}


@router.get("/v1/prefabs/{prefab_id}/logs", operation_id="prefab_logs")
async def prefab_logs(
    prefab_id: str,
    caller: CallerNow,
    parts: PartsNow,
    after: Annotated[int | None, Query(ge=0, le=_NUMBER)] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
    wait: Annotated[float, Query(ge=0, le=_WAIT)] = 0,
) -> dict[str, Any]:
    """Return what the caller's own calls of a prefab have printed: the newest, or the next `after` a `number`, for which `wait` holds
    the answer back, in seconds.
    """
    await parts.registry.find(caller, prefab_id)
    logs = await parts.logs.of_prefab(caller, prefab_id, after=after, limit=limit, wait=wait)
    return {"prefab_id": prefab_id, "logs": [_log(log) for log in logs]}


def _log(log: CallLog) -> dict[str, Any]:
    return {
        "number": log.number,
        "job_id": log.job_id,
        "call": int(log.call.rpartition(".")[2]),
        "prefab_id": log.prefab_id,
        "version": log.version,
        "function_name": log.function,
        "status": "SUCCESS" if log.succeeded else "FAILED",
        "at": render.time(log.at),
        "text": log.text,
    }
