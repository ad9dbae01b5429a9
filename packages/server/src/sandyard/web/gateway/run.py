"""`POST /v1/internal/run` and `/v1/run`: one call or a batch, as JSON, as events, or as a job to come back for."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from sandkit.wire.gateway import Refusal
from sandyard.domain.calls import CallResult, Job, JobState
from sandyard.services.prefabs.jobs import Run
from sandyard.web.gateway import bodies, render
from sandyard.web.gateway.errors import ERRORS, reply, request_id
from sandyard.web.gateway.parts import CallerNow, GatewayParts, PartsNow
from sandyard.web.gateway.requests import read_calls, read_wish
from sandyard.web.gateway.streams import AwaitedJson, EventStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.calls import Call
    from sandyard.web.gateway.requests import Wish
    from sandyard.web.gateway.streams import Line

router = APIRouter(tags=["run"], responses=ERRORS)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["calls"],
                    "properties": {
                        "calls": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["prefab_id", "function_name"],
                                "properties": {
                                    "prefab_id": {"type": "string"},
                                    "version": {"type": "string", "default": "latest"},
                                    "function_name": {"type": "string"},
                                    "inputs": {
                                        "type": "object",
                                        "properties": {
                                            "parameters": {"type": ["object", "null"]},
                                            "files": {
                                                "type": "object",
                                                "additionalProperties": {"type": "array", "items": {"type": "string", "pattern": "^s3://"}},
                                            },
                                        },
                                    },
                                    "idempotency_key": {"type": "string", "maxLength": 255},
                                },
                            },
                        },
                        "stream": {"type": "boolean"},
                        "callback_url": {"type": "string", "description": "With Prefer: respond-async, who is told of the job's end."},
                    },
                }
            }
        },
    }
}


@router.post("/v1/internal/run", operation_id="internal_run", openapi_extra=_BODY)
@router.post("/v1/run", operation_id="run", openapi_extra=_BODY)
async def run(request: Request, caller: CallerNow, parts: PartsNow) -> Response:
    """Run calls. One call's pre-flight failure is an HTTP error; among several it is that call's FAILED result."""
    raw = await bodies.read_body(request, limit=bodies.JSON_LIMIT, media=bodies.JSON_MEDIA)
    body = bodies.parse_json(raw)
    calls = read_calls(body, parts.settings.gateway.max_calls)
    wish = read_wish(request.headers, body, request.url.path.encode() + b"\n" + raw)
    return await answer(request, caller, parts, *_alone(calls, wish))


async def answer(request: Request, caller: Caller, parts: GatewayParts, calls: Sequence[Call], wish: Wish) -> Response:
    """Run the calls and return the answer that the caller wishes."""
    heartbeat = parts.settings.gateway.heartbeat
    if wish.asynchronous:
        return await _asynchronous(caller, parts, calls, wish)
    if wish.key is None and (wish.stream is False or len(calls) > 1):
        return AwaitedJson(lambda: _plain(request, caller, parts, calls, wish), heartbeat)
    begun = await parts.jobs.begin(caller, calls, key=wish.key, digest=wish.digest)
    if isinstance(begun, Job):
        return _again(begun, wish)
    if len(calls) == 1 and (wish.stream or (wish.stream is None and begun.streams)):
        return EventStream(lambda line: _events(begun, parts, line), heartbeat)
    if wish.key is None:
        return AwaitedJson(lambda: _finish(request, begun, parts), heartbeat)
    parts.jobs.spawn(begun)  # whoever comes back with the key shall find it done
    return AwaitedJson(lambda: _wait(request, begun), heartbeat)


def _alone(calls: Sequence[Call], wish: Wish) -> tuple[Sequence[Call], Wish]:
    """Take the key of a call that is the only one for the request's, unless that has one."""
    if len(calls) > 1 or calls[0].key is None:
        return calls, wish
    [call] = calls
    keyed = wish if wish.key is not None else replace(wish, key=call.key, digest=call.digest)
    return [replace(call, key=None)], keyed


async def _plain(request: Request, caller: Caller, parts: GatewayParts, calls: Sequence[Call], wish: Wish) -> Response:
    try:
        begun = await parts.jobs.begin(caller, calls, digest=wish.digest)
    except Refusal as refusal:
        return reply(refusal, request_id(request))
    assert isinstance(begun, Run)
    return await _finish(request, begun, parts)


async def _finish(request: Request, begun: Run, parts: GatewayParts) -> Response:
    async with parts.jobs.owned(begun):
        await parts.jobs.finish(begun)
    return _done(request, begun)


async def _wait(request: Request, begun: Run) -> Response:
    await begun.ended.wait()
    return _done(request, begun)


def _done(request: Request, begun: Run) -> Response:
    if begun.refusal is not None and len(begun.calls) == 1:
        return reply(begun.refusal, request_id(request))
    return _json(begun.wire())


async def _asynchronous(caller: Caller, parts: GatewayParts, calls: Sequence[Call], wish: Wish) -> Response:
    if wish.callback is not None:
        await parts.webhooks.admit(wish.callback)
    begun = await parts.jobs.begin(caller, calls, key=wish.key, digest=wish.digest, asynchronous=True)
    if isinstance(begun, Run) and wish.callback is not None:
        await _expect(begun, wish.callback, parts)
    job = begun if isinstance(begun, Job) else begun.job
    if isinstance(begun, Run):
        parts.jobs.spawn(begun)
    headers = {"Location": f"/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
    return _json(render.job(job), status=202, headers=headers)


async def _expect(begun: Run, url: str, parts: GatewayParts) -> None:
    """Note where to tell of a job's end before it begins; if that fails it does not."""
    try:
        await parts.webhooks.expect(begun.job.id, url)
    except BaseException:
        async with parts.jobs.owned(begun):
            raise


def _again(job: Job, wish: Wish) -> Response:
    """Answer from the stored outcome of a request with the same idempotency key."""
    if wish.stream and len(job.calls) == 1 and job.results:
        result = job.results[0]
        return EventStream(lambda line: line.event(render.terminal(job.id, result)), heartbeat=60)
    return _json(
        {"job_id": job.id, "status": job.state.value, "results": list(job.results or ())}, headers={"Idempotency-Replayed": "true"}
    )


async def _events(begun: Run, parts: GatewayParts, line: Line) -> None:
    """Send a call's events as they come, then exactly one `done` or `error`."""

    async def pass_on(_: int, event: Mapping[str, Any]) -> None:
        await line.event(event)

    async with parts.jobs.owned(begun):
        if not begun.streams:
            await line.event({"type": "start", "data": {"job_id": begun.job.id}})
        await parts.jobs.finish(begun, pass_on if begun.streams else None)
    result = begun.results[0] or CallResult(error={"error_code": JobState.CANCELLED.value, "message": "The call was cancelled"})
    await line.event(render.end_of(begun.job.id, result) if begun.streams else render.terminal(begun.job.id, result.wire()))


def _json(value: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json", headers=dict(headers or {}))
