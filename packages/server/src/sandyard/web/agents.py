"""`POST /agents`: the upload of a packed agent."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from fastapi import APIRouter, Request, status

from sandkit.wire.templates import Deployment
from sandyard.web import render_templates as render
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services

router = APIRouter(tags=["agents"], responses=ERRORS)

_GZIP_BODY = {
    "requestBody": {"required": True, "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}},
}


@router.post("/agents", status_code=status.HTTP_202_ACCEPTED, operation_id="deploy_agent", openapi_extra=_GZIP_BODY)
async def deploy(request: Request, owner: Owner, services: Services, tags: str = "") -> Deployment:
    """Take a gzip tar of an agent's directory and build it in the background; `tags` are comma-separated."""
    wanted = [tag for tag in tags.split(",") if tag]
    template, build = await services.deployments.deploy(owner, wanted, request.stream())
    return render.deployment(template, build)
