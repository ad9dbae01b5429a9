"""Builds by steps and what belongs to templates beside them: aliases, tags, uploads (sandbox-protocol §4)."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from typing import Annotated, NoReturn

from fastapi import APIRouter, Header, Query, Request, Response, status

from sandkit.wire.errors import NOT_IMPLEMENTED, ApiError
from sandkit.wire.templates import (
    AssignedTags,
    AssignTags,
    FileUpload,
    NewTemplate,
    RemoveTags,
    StartBuild,
    TagInfo,
    TemplateAlias,
    TemplateInfo,
    TemplatePage,
    TemplateRequested,
    UpdateTemplate,
)
from sandyard.domain.templates import Recipe, Step
from sandyard.services import references
from sandyard.web import render_templates as render
from sandyard.web.errors import ERRORS
from sandyard.web.logins import read_login
from sandyard.web.pages import newest_first
from sandyard.web.parts import Owner, Services
from sandyard.web.slashes import Named

router = APIRouter(tags=["templates"], responses=ERRORS)

_NO_DOCKERFILES = (
    "This server builds templates by steps: POST /v3/templates, then POST /v2/templates/{id}/builds/{buildID}, as the clients' Template "
    "builder does. The older flow, which pushes an image that was built from a Dockerfile, needs Docker and a registry and is not served."
)


@router.post("/v3/templates", status_code=status.HTTP_202_ACCEPTED, operation_id="request_template")
async def request_template(owner: Owner, services: Services, body: NewTemplate) -> TemplateRequested:
    """Announce a build: it waits for its files and its start."""
    template, build = await services.recipes.announce(owner, body.name, body.tags, cpu_count=body.cpu_count, memory_mb=body.memory_mb)
    return TemplateRequested(
        templateID=template.id,
        buildID=build.id,
        public=template.public,
        names=[template.name],
        aliases=[template.name],
        tags=list(build.tags),
    )


@router.get("/templates/{template}/files/{files_hash}", status_code=status.HTTP_201_CREATED, operation_id="request_upload")
async def request_upload(request: Request, template: Named, files_hash: str, owner: Owner, services: Services) -> FileUpload:
    """Say whether the files of that hash are here, and where to PUT them; the address is good for an hour."""
    present, path = await services.recipes.upload_path(owner, template, files_hash)
    return FileUpload(present=present, url=str(request.base_url).rstrip("/") + path)


@router.put("/uploads/{template_id}/{files_hash}", operation_id="upload_files")
async def upload_files(
    request: Request, services: Services, template_id: str, files_hash: str, expires: int = 0, signature: str = ""
) -> None:
    """Take the files of a COPY step, a tar, gzipped or not; the address is its own key."""
    await services.recipes.upload(template_id, files_hash, expires, signature, request.stream())


@router.post("/v2/templates/{template}/builds/{build_id}", status_code=status.HTTP_202_ACCEPTED, operation_id="start_build")
async def start_build(template: Named, build_id: str, owner: Owner, services: Services, body: StartBuild) -> None:
    """Let an announced build begin."""
    await services.recipes.order(
        owner,
        template,
        build_id,
        _recipe(body),
        template=body.from_template or "",
        login=None if body.from_image_registry is None else read_login(body.from_image_registry),
    )


@router.get("/v2/templates", operation_id="list_templates_v2", response_model=None)
async def list_templates(
    owner: Owner,
    services: Services,
    response: Response,
    publisher: Annotated[str, Header()] = "",
    page: Annotated[int, Query(ge=1)] = 1,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    next_token: Annotated[str | None, Query(alias="nextToken", max_length=100)] = None,
) -> list[TemplateInfo] | TemplatePage:
    """List the caller's templates: for E2B's clients a list with X-Next-Token, for PPIO's and Novita's a numbered page."""
    views = await services.templates.list(owner)
    if _by_pages(publisher):
        shown = [render.template_info(view, services.settings) for view in views[(page - 1) * limit : page * limit]]
        return TemplatePage(templates=shown, total=len(views), page=page, limit=limit, total_pages=-(-len(views) // limit))
    found, token = newest_first(views, lambda view: (view.template.created_at, view.template.id), limit, next_token)
    if token is not None:
        response.headers["X-Next-Token"] = token
    return [render.template_info(view, services.settings) for view in found]


@router.get("/templates/aliases/{alias}", operation_id="find_template")
async def find_template(alias: Named, owner: Owner, services: Services) -> TemplateAlias:
    """Say which template a name means."""
    template = await services.templates.find(owner, references.read(alias))
    return TemplateAlias(templateID=template.id, public=template.public)


@router.post("/templates/tags", status_code=status.HTTP_201_CREATED, operation_id="assign_tags")
async def assign_tags(owner: Owner, services: Services, body: AssignTags) -> AssignedTags:
    """Let tags point at a build."""
    build = await services.templates.tag(owner, body.target, body.tags)
    return AssignedTags(tags=body.tags, buildID=build.id)


@router.delete("/templates/tags", status_code=status.HTTP_204_NO_CONTENT, operation_id="remove_tags")
async def remove_tags(owner: Owner, services: Services, body: RemoveTags) -> None:
    """Remove tags; the builds stay."""
    await services.templates.untag(owner, body.name, body.tags)


@router.get("/templates/{template}/tags", operation_id="list_tags")
async def list_tags(template: Named, owner: Owner, services: Services) -> list[TagInfo]:
    """List the tags of a template, newest first."""
    return [render.tag_info(tag) for tag in await services.templates.tags(owner, template)]


@router.patch("/templates/{template}", operation_id="update_template")
@router.patch("/v2/templates/{template}", include_in_schema=False)
async def update_template(template: Named, owner: Owner, services: Services, body: UpdateTemplate) -> dict[str, list[str]]:
    """Let every owner use a template, or its owner alone."""
    found = await services.templates.find_own(owner, references.read(template))
    if body.public is not None:
        found = await services.templates.publish(owner, template, public=body.public)
    return {"names": [f"{owner}/{found.name}"]}


@router.post("/templates", include_in_schema=False, response_model=None)
@router.post("/v2/templates", include_in_schema=False, response_model=None)
@router.post("/templates/{template}", include_in_schema=False, response_model=None)
@router.post("/templates/{template}/builds/{build_id}", include_in_schema=False, response_model=None)
async def dockerfile_flow() -> NoReturn:
    """Refuse the flow of the clients' first version."""
    raise ApiError(NOT_IMPLEMENTED, _NO_DOCKERFILES)


def _recipe(body: StartBuild) -> Recipe:
    steps = [Step(type=step.type, args=tuple(step.args), files_hash=step.files_hash or "", force=bool(step.force)) for step in body.steps]
    return Recipe(
        from_image=body.from_image or "",
        steps=tuple(steps),
        start_cmd=body.start_cmd or "",
        ready_cmd=body.ready_cmd or "",
        force=bool(body.force),
    )


def _by_pages(publisher: str) -> bool:
    return publisher.lower() in ("ppio", "novita")
