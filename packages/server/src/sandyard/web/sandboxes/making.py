"""Create, describe, list."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Header, Query, Request, Response, status

from sandkit.wire.errors import INVALID_REQUEST, ApiError
from sandkit.wire.sandboxes import CreateSandbox, ListedSandbox, Sandbox
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.creation import DEFAULT_SECONDS, SHORT_SECONDS
from sandyard.services.sandboxes import Search
from sandyard.web import render
from sandyard.web.errors import ERRORS
from sandyard.web.leaving import unless_left
from sandyard.web.parts import Owner, Services
from sandyard.web.sandboxes.wishes import new_sandbox

router = APIRouter(tags=["sandboxes"], responses=ERRORS)

_STATES = {"running": SandboxState.RUNNING, "paused": SandboxState.PAUSED}
IdempotencyKey = Annotated[str | None, Header(pattern=r"^[A-Za-z0-9_-]{1,255}$")]


@router.post("/v2/sandboxes", status_code=status.HTTP_201_CREATED, operation_id="create_sandbox", response_model_exclude_none=True)
async def create(
    request: Request, owner: Owner, services: Services, body: CreateSandbox, idempotency_key: IdempotencyKey = None
) -> Sandbox:
    """Start a sandbox of a template. With an Idempotency-Key a repeated call returns the sandbox of the first."""
    return await _create(request, owner, services, body, idempotency_key, DEFAULT_SECONDS)


@router.post("/sandboxes", status_code=status.HTTP_201_CREATED, include_in_schema=False, response_model_exclude_none=True)
async def create_v1(
    request: Request, owner: Owner, services: Services, body: CreateSandbox, idempotency_key: IdempotencyKey = None
) -> Sandbox:
    """As `create`; it lives 15 seconds where nothing is said."""
    return await _create(request, owner, services, body, idempotency_key, SHORT_SECONDS)


async def _create(
    request: Request, owner: str, services: Services, body: CreateSandbox, idempotency_key: str | None, seconds: int
) -> Sandbox:
    work = services.sandboxes.create(owner, new_sandbox(body, seconds, idempotency_key, services.check_entry))
    return render.sandbox(await (unless_left(request, work) if idempotency_key is None else work))


@router.get("/v2/sandboxes", operation_id="list_sandboxes", response_model_exclude_none=True)
@router.get("/sandboxes", include_in_schema=False, response_model_exclude_none=True)
async def list_sandboxes(
    response: Response,
    owner: Owner,
    services: Services,
    state: Annotated[list[str] | None, Query()] = None,
    metadata: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    started_after: Annotated[datetime | None, Query(alias="startedAfter")] = None,
    template: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    next_token: Annotated[str | None, Query(alias="nextToken", max_length=100)] = None,
) -> list[ListedSandbox]:
    """List running and paused sandboxes, newest first; the header X-Next-Token leads to the next page."""
    search = Search(
        states=_states(state or []),
        metadata=_metadata(metadata or ""),
        template=template,
        since=None if started_after is None else _seconds(started_after),
        oldest_first=order == "asc",
        limit=limit,
        after=next_token or None,
    )
    views, cursor = await services.sandboxes.list(owner, search)
    if cursor is not None:
        response.headers["X-Next-Token"] = cursor
    return [render.listed_sandbox(view) for view in views]


def _seconds(moment: datetime) -> float:
    """A time without a zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _states(values: list[str]) -> list[SandboxState]:
    words = [word for value in values for word in value.split(",") if word]
    for word in words:
        if word not in _STATES:
            raise ApiError(INVALID_REQUEST, f"state: {word!r} is neither 'running' nor 'paused'", details={"field": "state"})
    return [_STATES[word] for word in words]


def _metadata(value: str) -> dict[str, str]:
    """Decode the filter: E2B's clients encode keys and values, then the pairs, then the parameter (sandbox-protocol §1.5)."""
    return {unquote(key): unquote(text) for key, text in parse_qsl(value, keep_blank_values=True)}
