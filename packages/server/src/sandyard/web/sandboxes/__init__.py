"""`/sandboxes`: E2B's paths, versions 1 and 2 (sandbox-protocol §1.3), and what other clients of that family call besides."""

from __future__ import annotations

from fastapi import APIRouter

from sandyard.web.sandboxes import copying, living, looking, making

router = APIRouter()
for part in (making, looking, living, copying):
    router.include_router(part.router)

__all__ = ["router"]
