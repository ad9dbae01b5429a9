"""The registry's endpoints: lists, specifications, OpenAPI, publishing, yanking, and each function under a path of its own."""

# ruff: noqa: TC001, PLR0917 (FastAPI resolves the annotations at run time, and passes by name)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response, status

from sandkit.wire.gateway import NOT_FOUND, UNSUPPORTED_MEDIA_TYPE, Refusal
from sandyard.domain.calls import Call
from sandyard.web.gateway import bodies, openapi, render
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow
from sandyard.web.gateway.requests import read_inputs, read_wish
from sandyard.web.gateway.run import answer

if TYPE_CHECKING:
    from sandyard.services.prefabs.registry import Published

router = APIRouter(tags=["prefabs"], responses=ERRORS)
_ARCHIVES = ("application/zip", "application/octet-stream", "application/x-wheel+zip")
_WAIT = 60.0
_BODY = {"requestBody": {"required": True, "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/v1/prefabs", operation_id="list_prefabs")
async def list_prefabs(caller: CallerNow, parts: PartsNow, status: str | None = None) -> list[dict[str, Any]]:
    """List the versions that the caller may call (`status`: another state word, such as `yanked`)."""
    return [render.prefab(found) for found in await parts.registry.list(caller, status.lower() if status else None)]


@router.post("/v1/prefabs", operation_id="publish_prefab", status_code=status.HTTP_202_ACCEPTED, openapi_extra=_BODY)
async def publish(
    request: Request, response: Response, caller: CallerNow, parts: PartsNow, visibility: Literal["private", "public"] = "private"
) -> dict[str, Any]:
    """Take a wheel, or a zip of a prefab's directory, and build it; 200 where this very version is there already."""
    media = request.headers.get("content-type", "application/zip").partition(";")[0].strip().lower()
    if media not in _ARCHIVES:
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, f"The body must be application/zip, not {media[:100]!r}")
    found, new = await parts.registry.publish(caller, request.stream(), visibility)
    if new:
        await parts.audit.note(caller, "prefab.publish", _about(found), f"{visibility} sha256:{found.version.digest}")
    response.status_code = status.HTTP_202_ACCEPTED if new else status.HTTP_200_OK
    return render.spec(found, own=True)


@router.get("/v1/prefabs/{prefab_id}/spec", operation_id="latest_spec")
async def latest_spec(prefab_id: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return the newest version's specification."""
    found = await parts.registry.find(caller, prefab_id)
    return render.spec(found, own=found.prefab.owner == caller.tenant)


@router.get("/v1/prefabs/{prefab_id}/{version}/spec", operation_id="version_spec")
async def version_spec(
    prefab_id: str, version: str, caller: CallerNow, parts: PartsNow, wait: Annotated[float, Query(ge=0, le=_WAIT)] = 0
) -> dict[str, Any]:
    """Return a version's specification (`version` may be an alias); `wait` holds the answer back until its build ends, in seconds."""
    found = await parts.registry.wait(caller, prefab_id, version, wait)
    return render.spec(found, own=found.prefab.owner == caller.tenant)


@router.get("/v1/prefabs/{prefab_id}/{version}/openapi.json", operation_id="prefab_openapi")
async def prefab_openapi(prefab_id: str, version: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return the OpenAPI document of a version's functions, with typed bodies."""
    return openapi.document(await parts.registry.resolve(caller, prefab_id, version))


@router.post("/v1/prefabs/{prefab_id}/{version}/functions/{function}", operation_id="call_function")
async def call_function(prefab_id: str, version: str, function: str, request: Request, caller: CallerNow, parts: PartsNow) -> Response:
    """Call one function: the body is its `inputs` (`{"parameters": {…}, "files": {…}}`), the answer as of `/v1/run`."""
    raw = await bodies.read_body(request, limit=bodies.JSON_LIMIT, media=bodies.JSON_MEDIA)
    body: Any = bodies.parse_json(raw) if raw.strip() else None
    parameters, files = read_inputs(body, "")
    call = Call(prefab_id=prefab_id, version=version, function=function, parameters=parameters, files=files)
    wish = read_wish(request.headers, None, request.url.path.encode() + b"\n" + raw)
    return await answer(request, caller, parts, [call], wish)


@router.delete("/v1/prefabs/{prefab_id}/{version}", operation_id="yank_prefab")
async def yank(prefab_id: str, version: str, caller: CallerNow, parts: PartsNow, undo: bool = False) -> dict[str, Any]:
    """Hide a version from aliases and lists (`undo`: show it again); its exact version can still be called."""
    found = await parts.registry.yank(caller, prefab_id, version, undo=undo)
    await parts.audit.note(caller, "prefab.unyank" if undo else "prefab.yank", _about(found), "SUCCESS")
    return render.prefab(found)


@router.get("/v1/public/prefabs/{prefab_id}/functions", operation_id="public_functions")
async def functions(prefab_id: str, caller: CallerNow, parts: PartsNow) -> list[dict[str, Any]]:
    """Return the newest version's functions with their schemas."""
    return [render.function(item) for item in (await parts.registry.resolve(caller, prefab_id, "latest")).manifest.functions]


@router.get("/v1/public/prefabs/{prefab_id}/functions/{name}", operation_id="public_function")
async def function(prefab_id: str, name: str, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return one function of the newest version with its schemas."""
    found = (await parts.registry.resolve(caller, prefab_id, "latest")).manifest.function(name)
    if found is None:
        raise Refusal(NOT_FOUND, f"The prefab {prefab_id!r} has no function {name[:100]!r}", prefab_id=prefab_id, function_name=name[:100])
    return render.function(found)


def _about(found: Published) -> str:
    return f"{found.manifest.id}@{found.version.version}"
