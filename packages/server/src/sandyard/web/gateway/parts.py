"""What the gateway's routes are given, and how they get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from sandyard.domain.callers import Caller
from sandyard.services.callers.identify import Presented

if TYPE_CHECKING:
    from sandyard.config import Settings
    from sandyard.ports import Clock
    from sandyard.services.callers.identify import Callers
    from sandyard.services.prefabs.jobs import Jobs
    from sandyard.services.prefabs.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The services behind the gateway."""

    settings: Settings
    callers: Callers
    registry: Registry
    jobs: Jobs
    clock: Clock


async def _parts(request: Request) -> GatewayParts:  # a plain function would be called in a thread
    return cast("GatewayParts", request.app.state.parts)


async def _caller(request: Request) -> Caller:
    """Who is calling, by the request's credentials alone."""
    headers = request.headers
    presented = Presented(
        internal_token=tuple(headers.getlist("x-internal-token")),
        authorization=tuple(headers.getlist("authorization")),
        api_key=tuple(headers.getlist("x-api-key")),
        forwarded_for=tuple(headers.getlist("x-forwarded-for")),
        peer=request.client.host if request.client else None,
    )
    return await (await _parts(request)).callers.identify(presented)


PartsNow = Annotated[GatewayParts, Depends(_parts)]
CallerNow = Annotated[Caller, Depends(_caller)]
