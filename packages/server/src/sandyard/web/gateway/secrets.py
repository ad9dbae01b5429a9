"""The secrets' endpoints: set, named, forgotten. Values go in and never come out."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, Request, Response

from sandyard.services.secrets.keeping import LONGEST
from sandyard.web.gateway.bodies import read_json
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow

if TYPE_CHECKING:
    from sandyard.domain.accounting import KeptSecret

router = APIRouter(tags=["secrets"], responses=ERRORS)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "required": ["value"], "properties": {"value": {"type": "string"}}}}},
    }
}


@router.get("/v1/secrets", operation_id="list_secrets")
async def list_secrets(caller: CallerNow, parts: PartsNow) -> list[dict[str, Any]]:
    """List the names of the caller's secrets, with the prefabs that they are for."""
    return [_named(item) for item in await parts.secrets.list(caller)]


@router.get("/v1/prefabs/{prefab_id}/secrets", operation_id="list_prefab_secrets")
async def list_prefab_secrets(prefab_id: str, caller: CallerNow, parts: PartsNow) -> list[dict[str, Any]]:
    """List the names of the caller's secrets for one prefab."""
    return [_named(item) for item in await parts.secrets.list(caller, prefab_id)]


@router.put("/v1/prefabs/{prefab_id}/secrets/{name}", operation_id="set_secret", status_code=204, openapi_extra=_BODY)
async def set_secret(prefab_id: str, name: str, request: Request, caller: CallerNow, parts: PartsNow) -> Response:
    """Set a secret: it is given to the functions of that prefab that name it, in the caller's own calls."""
    body: Any = await read_json(request, limit=8 * LONGEST)
    await parts.secrets.put(caller, prefab_id, name, cast("dict[str, object]", body).get("value") if isinstance(body, dict) else None)
    await parts.audit.note(caller, "secrets.set", f"{prefab_id}/{name}", "SUCCESS")
    return Response(status_code=204)


@router.delete("/v1/prefabs/{prefab_id}/secrets/{name}", operation_id="forget_secret", status_code=204)
async def forget_secret(prefab_id: str, name: str, caller: CallerNow, parts: PartsNow) -> Response:
    """Forget a secret."""
    await parts.secrets.remove(caller, prefab_id, name)
    await parts.audit.note(caller, "secrets.forget", f"{prefab_id}/{name}", "SUCCESS")
    return Response(status_code=204)


def _named(item: KeptSecret) -> dict[str, Any]:
    changed = datetime.fromtimestamp(item.updated_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"prefab_id": item.prefab_id, "name": item.name, "updated_at": changed}
