"""`/templates`: what sandboxes start from, and how their builds go."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import StreamingResponse

from sandkit.wire.templates import BuildLogEntry, BuildStatus, TemplateInfo
from sandyard.domain.templates import BuildState
from sandyard.web import render_templates as render
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services
from sandyard.web.slashes import Named

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sandyard.domain.templates import Build, LogLine
    from sandyard.services.build_logs import BuildLogs

router = APIRouter(tags=["templates"], responses=ERRORS)


@router.get("/templates", operation_id="list_templates")
async def list_templates(owner: Owner, services: Services) -> list[TemplateInfo]:
    """List the caller's templates."""
    return [render.template_info(view, services.settings) for view in await services.templates.list(owner)]


@router.get("/templates/{template}", operation_id="get_template")
async def get(template: Named, owner: Owner, services: Services) -> TemplateInfo:
    """Describe a template by id, name or `name:tag`."""
    return render.template_info(await services.templates.get(owner, template), services.settings)


@router.delete("/templates/{template}", status_code=status.HTTP_204_NO_CONTENT, operation_id="delete_template")
async def delete(template: Named, owner: Owner, services: Services) -> None:
    """Delete a template with its builds; 409 while sandboxes of it live."""
    await services.templates.delete(owner, template)


@router.get("/templates/{template}/builds/{build_id}/status", operation_id="build_status", response_model_exclude_none=True)
async def build_status(
    template: Named,
    build_id: str,
    owner: Owner,
    services: Services,
    logs_offset: Annotated[int, Query(alias="logsOffset", ge=0)] = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
) -> BuildStatus:
    """Say how a build goes, with its log lines from `logsOffset` on."""
    build = await services.templates.build(owner, template, build_id)
    return await _status(services.build_logs, build, await services.build_logs.page(build_id, logs_offset, limit))


@router.get("/templates/{template}/builds/{build_id}/logs", operation_id="build_logs", response_model=list[BuildLogEntry])
async def build_logs(
    template: Named,
    build_id: str,
    owner: Owner,
    services: Services,
    follow: bool = False,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> StreamingResponse | list[BuildLogEntry]:
    """Return log lines; with `follow=true` as server-sent events while they come, ended by `event: end` with the status."""
    build = await services.templates.build(owner, template, build_id)
    if not follow:
        return [render.log_entry(line) for line in await services.build_logs.page(build_id, offset, limit)]
    events = _events(services.build_logs, build, offset)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(logs: BuildLogs, build: Build, offset: int) -> AsyncIterator[str]:
    async for piece in logs.follow(build, offset):
        for line in piece.lines:
            yield f"data: {render.log_entry(line).model_dump_json(by_alias=True)}\n\n"
        if piece.build is not None:
            status = await _status(logs, piece.build, ())
            yield f"event: end\ndata: {status.model_dump_json(by_alias=True)}\n\n"


async def _status(logs: BuildLogs, build: Build, lines: Sequence[LogLine]) -> BuildStatus:
    last = await logs.last_lines(build.id) if build.state is BuildState.FAILED else ()
    return render.build_status(build, lines, last)
