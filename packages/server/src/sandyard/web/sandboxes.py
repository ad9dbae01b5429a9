"""`/sandboxes`: E2B's paths, versions 1 and 2 alike (sandbox-protocol §1.3)."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Body, Header, Query, Request, Response, status

from sandkit.wire.errors import INVALID_REQUEST, NOT_IMPLEMENTED, ApiError
from sandkit.wire.sandboxes import ConnectSandbox, CreateSandbox, Refresh, Sandbox, SandboxDetail, SandboxLogs, SetTimeout
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.sandboxes import NewSandbox
from sandyard.services.specs import Wishes
from sandyard.web import render
from sandyard.web.errors import ERRORS
from sandyard.web.leaving import unless_left
from sandyard.web.parts import Owner, Services

router = APIRouter(tags=["sandboxes"], responses=ERRORS)

_STATES = {"running": SandboxState.RUNNING, "paused": SandboxState.PAUSED}
_REFRESH_SECONDS = 60
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IdempotencyKey = Annotated[str | None, Header(pattern=r"^[A-Za-z0-9_-]{1,255}$")]


@router.post("/sandboxes", status_code=status.HTTP_201_CREATED, operation_id="create_sandbox")
@router.post("/v2/sandboxes", status_code=status.HTTP_201_CREATED, include_in_schema=False)
async def create(
    request: Request, owner: Owner, services: Services, body: CreateSandbox, idempotency_key: IdempotencyKey = None
) -> Sandbox:
    """Start a sandbox of a template. With an Idempotency-Key a repeated call returns the sandbox of the first."""
    _check(body, services)
    work = services.sandboxes.create(owner, _wanted(body, idempotency_key))
    view = await (unless_left(request, work) if idempotency_key is None else work)
    return render.sandbox(view)


@router.get("/v2/sandboxes", operation_id="list_sandboxes", response_model_exclude_none=True)
@router.get("/sandboxes", include_in_schema=False, response_model_exclude_none=True)
async def list_sandboxes(
    response: Response,
    owner: Owner,
    services: Services,
    state: Annotated[list[str] | None, Query()] = None,
    metadata: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    next_token: Annotated[str | None, Query(alias="nextToken", max_length=100)] = None,
) -> list[SandboxDetail]:
    """List running and paused sandboxes, newest first; the header X-Next-Token leads to the next page."""
    views, cursor = await services.sandboxes.list(
        owner, states=_states(state or []), metadata=_metadata(metadata or ""), limit=limit, after=next_token or None
    )
    if cursor is not None:
        response.headers["X-Next-Token"] = cursor
    return [render.sandbox_detail(view, token=False) for view in views]


@router.get("/sandboxes/{sandbox_id}", operation_id="get_sandbox")
async def get(sandbox_id: str, owner: Owner, services: Services) -> SandboxDetail:
    """Describe a sandbox, with the isolation that it achieved."""
    return render.sandbox_detail(await services.sandboxes.get(owner, sandbox_id), token=True)


@router.delete("/sandboxes/{sandbox_id}", status_code=status.HTTP_204_NO_CONTENT, operation_id="kill_sandbox")
async def kill(sandbox_id: str, owner: Owner, services: Services) -> None:
    """End a sandbox; answers when nothing of it is left."""
    await services.sandboxes.kill(owner, sandbox_id)


@router.post("/sandboxes/{sandbox_id}/timeout", status_code=status.HTTP_204_NO_CONTENT, operation_id="set_sandbox_timeout")
async def set_timeout(sandbox_id: str, owner: Owner, services: Services, body: SetTimeout) -> None:
    """Let the sandbox end that many seconds from now."""
    await services.sandboxes.set_timeout(owner, sandbox_id, body.timeout)


@router.post("/sandboxes/{sandbox_id}/refreshes", status_code=status.HTTP_204_NO_CONTENT, operation_id="refresh_sandbox")
async def refresh(sandbox_id: str, owner: Owner, services: Services, body: Annotated[Refresh | None, Body()] = None) -> None:
    """Let the sandbox live at least that many seconds from now."""
    duration = _REFRESH_SECONDS if body is None or body.duration is None else body.duration
    await services.sandboxes.set_timeout(owner, sandbox_id, duration, only_later=True)


@router.post("/sandboxes/{sandbox_id}/pause", status_code=status.HTTP_204_NO_CONTENT, operation_id="pause_sandbox")
async def pause(sandbox_id: str, owner: Owner, services: Services) -> None:
    """Freeze a sandbox where it stands, memory kept; 409 if it is paused already."""
    await services.sandboxes.pause(owner, sandbox_id)


@router.post("/sandboxes/{sandbox_id}/connect", operation_id="connect_sandbox", responses={201: {"model": Sandbox}})
@router.post("/v2/sandboxes/{sandbox_id}/connect", include_in_schema=False)
async def connect(
    sandbox_id: str, response: Response, owner: Owner, services: Services, body: Annotated[ConnectSandbox | None, Body()] = None
) -> Sandbox:
    """Resume a paused sandbox (201), or extend a running one's time (200)."""
    view, resumed = await services.sandboxes.connect(owner, sandbox_id, body.timeout if body else None)
    response.status_code = status.HTTP_201_CREATED if resumed else status.HTTP_200_OK
    return render.sandbox(view)


@router.post("/sandboxes/{sandbox_id}/resume", status_code=status.HTTP_201_CREATED, deprecated=True, operation_id="resume_sandbox")
async def resume(sandbox_id: str, owner: Owner, services: Services, body: Annotated[ConnectSandbox | None, Body()] = None) -> Sandbox:
    """Use connect."""
    view, _ = await services.sandboxes.connect(owner, sandbox_id, body.timeout if body else None)
    return render.sandbox(view)


@router.get("/sandboxes/{sandbox_id}/logs", operation_id="sandbox_logs")
@router.get("/v2/sandboxes/{sandbox_id}/logs", include_in_schema=False)
async def logs(sandbox_id: str, owner: Owner, services: Services) -> SandboxLogs:
    """Return what the agent printed last."""
    return render.sandbox_logs(*await services.sandboxes.output(owner, sandbox_id))


def _check(body: CreateSandbox, services: Services) -> None:
    """Refuse what a sandbox could not be started with."""
    for name, value in body.env_vars.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ApiError(INVALID_REQUEST, f"envVars: {name[:100]!r} cannot be a variable", details={"field": "envVars"})
    network = body.network
    if network is not None and network.allow_out:
        raise ApiError(NOT_IMPLEMENTED, "network.allowOut is not supported yet: what sandboxes may reach is the operator's --egress-allow")
    for entry in network.deny_out if network else ():
        try:
            services.check_entry(entry)
        except ValueError as error:
            raise ApiError(INVALID_REQUEST, f"network.denyOut: {error}", details={"field": "network.denyOut"}) from None


def _wanted(body: CreateSandbox, idempotency_key: str | None) -> NewSandbox:
    network = body.network
    return NewSandbox(
        template=body.template_id,
        timeout=body.timeout,
        on_timeout="pause" if body.auto_pause else "kill",
        public=bool(network and network.allow_public_traffic),
        metadata=body.metadata,
        wishes=Wishes(env=body.env_vars, internet=body.allow_internet_access, deny=tuple(network.deny_out) if network else ()),
        idempotency_key=idempotency_key,
    )


def _states(values: list[str]) -> list[SandboxState]:
    words = [word for value in values for word in value.split(",") if word]
    for word in words:
        if word not in _STATES:
            raise ApiError(INVALID_REQUEST, f"state: {word!r} is neither 'running' nor 'paused'", details={"field": "state"})
    return [_STATES[word] for word in words]


def _metadata(value: str) -> dict[str, str]:
    """Decode the filter: E2B's clients encode keys and values, then the pairs, then the parameter (sandbox-protocol §1.5)."""
    return {unquote(key): unquote(text) for key, text in parse_qsl(value, keep_blank_values=True)}
