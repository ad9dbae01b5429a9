"""`POST /v1/auth/convert_to_internal_token`: an API key becomes a token that lives an hour."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from sandyard.services.callers.identify import CONVERTED_SECONDS
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow

router = APIRouter(tags=["auth"], responses=ERRORS)


@router.post("/v1/auth/convert_to_internal_token", operation_id="convert_to_internal_token")
async def convert(response: Response, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return an internal token of the caller's; it ends with the key that it was made for."""
    token = parts.callers.convert(caller)
    await parts.audit.note(caller, "auth.convert", caller.credential, "SUCCESS")
    response.headers["Cache-Control"] = "no-store"
    return {"internal_token": token, "token_type": "internal", "expires_in": CONVERTED_SECONDS}
