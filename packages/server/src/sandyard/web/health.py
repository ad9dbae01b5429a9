"""`GET /health`: that the control plane answers."""

from __future__ import annotations

from fastapi import APIRouter, status

router = APIRouter(tags=["health"])


@router.get("/health", status_code=status.HTTP_204_NO_CONTENT, operation_id="health")
async def health() -> None:
    """Answer 204; no key is needed."""
