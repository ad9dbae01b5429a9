"""Snapshots, forks, clones: more of a sandbox."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response, status

from sandkit.wire.errors import ApiError
from sandkit.wire.sandboxes import Cloned, CloneSandbox, Committed, Forked, ForkSandbox, Snapshot, SnapshotSandbox
from sandyard.services.sandboxes import plain_id
from sandyard.web import render
from sandyard.web.errors import ERRORS
from sandyard.web.pages import newest_first
from sandyard.web.parts import Owner, Services

router = APIRouter(tags=["sandboxes"], responses=ERRORS)

_CREATED = status.HTTP_201_CREATED


@router.post("/sandboxes/{sandbox_id}/snapshots", status_code=_CREATED, operation_id="snapshot_sandbox", response_model_exclude_none=True)
async def snapshot(sandbox_id: str, owner: Owner, services: Services, body: Annotated[SnapshotSandbox | None, Body()] = None) -> Snapshot:
    """Save a sandbox's files as a template; it runs on. Processes are not saved, and the answer says so."""
    made = await services.copies.snapshot(owner, sandbox_id, body.name if body else None)
    return render.snapshot(made, memory_wished=body is None or body.memory is not False)


@router.get("/snapshots", operation_id="list_snapshots", response_model_exclude_none=True)
async def list_snapshots(
    response: Response,
    owner: Owner,
    services: Services,
    sandbox_id: Annotated[str | None, Query(alias="sandboxID", max_length=100)] = None,
    name: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    next_token: Annotated[str | None, Query(alias="nextToken", max_length=100)] = None,
) -> list[Snapshot]:
    """List the caller's snapshots, newest first; the header X-Next-Token leads to the next page."""
    found = await services.snapshots.list(owner, sandbox_id=sandbox_id and plain_id(sandbox_id), name=name)
    page, token = newest_first(found, lambda view: (view.build.created_at, view.build.id), limit, next_token)
    if token is not None:
        response.headers["X-Next-Token"] = token
    return [render.snapshot(view, memory_wished=False) for view in page]


@router.post("/sandboxes/{sandbox_id}/fork", status_code=_CREATED, operation_id="fork_sandbox", response_model_exclude_none=True)
async def fork(sandbox_id: str, owner: Owner, services: Services, body: Annotated[ForkSandbox | None, Body()] = None) -> list[Forked]:
    """Make sandboxes that begin with the files of this one; each is there, or says why it is not."""
    wanted = body or ForkSandbox(timeout=15, count=1)
    made = await services.copies.fork(owner, sandbox_id, count=wanted.count, seconds=wanted.timeout)
    return [Forked(error=one.body()) if isinstance(one, ApiError) else Forked(sandbox=render.sandbox(one)) for one in made]


@router.post("/sandboxes/{sandbox_id}/clone", status_code=_CREATED, operation_id="clone_sandbox", response_model_exclude_none=True)
async def clone(sandbox_id: str, owner: Owner, services: Services, body: Annotated[CloneSandbox | None, Body()] = None) -> Cloned:
    """Save a sandbox as a template, which stays, and make sandboxes of it."""
    wanted = body or CloneSandbox(timeout=None, count=1)
    clones = await services.copies.clone(owner, sandbox_id, count=wanted.count, seconds=wanted.timeout, strict=wanted.strict)
    return Cloned(
        sandboxes=[render.sandbox(view) for view in clones.views],
        snapshot_template_id=clones.snapshot.template.id,
    )


@router.post("/sandboxes/{sandbox_id}/commit", status_code=_CREATED, operation_id="commit_sandbox")
async def commit(sandbox_id: str, owner: Owner, services: Services, body: Annotated[SnapshotSandbox | None, Body()] = None) -> Committed:
    """As snapshot, for older clients: answers with the template."""
    return render.committed(await services.copies.snapshot(owner, sandbox_id, (body.name or body.alias) if body else None))
