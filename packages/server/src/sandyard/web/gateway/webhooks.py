"""What receivers of webhooks need."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from fastapi import APIRouter, Response

from sandkit.wire.gateway import PERMISSION_DENIED, Refusal
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import CallerNow, PartsNow

router = APIRouter(tags=["webhooks"], responses=ERRORS)


@router.get("/v1/webhooks/secret", operation_id="webhook_secret")
async def webhook_secret(response: Response, caller: CallerNow, parts: PartsNow) -> dict[str, str]:
    """Return the secret that signs the caller's webhooks."""
    if caller.kind in {"child", "listed"} or caller.sandbox is not None:
        raise Refusal(PERMISSION_DENIED, "The secret is its user's alone: with an API key, or a token that no sandbox holds")
    response.headers["Cache-Control"] = "no-store"
    return {"secret": parts.webhooks.secret(caller)}
