"""What the gateway's routes are given, and how they get it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from sandkit.wire.gateway import BAD_REQUEST, Refusal
from sandyard.domain.callers import Caller
from sandyard.services.callers.identify import Presented
from sandyard.services.origins import GATEWAY_URL

if TYPE_CHECKING:
    from sandyard.config import Settings
    from sandyard.ports import Clock
    from sandyard.ports_accounting import QuotaRows
    from sandyard.services.callers.identify import Callers
    from sandyard.services.files.keeping import Files
    from sandyard.services.files.signing import Signer
    from sandyard.services.prefabs.call_logs import CallLogs
    from sandyard.services.prefabs.jobs import Jobs
    from sandyard.services.prefabs.neighbours import Audit
    from sandyard.services.prefabs.registry import Registry
    from sandyard.services.secrets.keeping import Secrets
    from sandyard.services.webhooks.sending import Webhooks

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The services behind the gateway."""

    settings: Settings
    callers: Callers
    registry: Registry
    jobs: Jobs
    logs: CallLogs
    webhooks: Webhooks
    files: Files
    signer: Signer
    secrets: Secrets
    quotas: QuotaRows
    audit: Audit
    clock: Clock

    def whole(self, request: Request, address: str) -> str:
        """Return a URL as it is, and a path of ours as a URL for whoever asks."""
        return self.public(request) + address if address.startswith("/") else address

    def public(self, request: Request) -> str:
        """Return how whoever asks reaches this API: what signed URLs begin with.

        Raises:
            Refusal: BAD_REQUEST; the Host header is no host.
        """
        if request.scope.get("sandbox") is not None:
            return GATEWAY_URL
        if self.settings.gateway.files.public_url is not None:
            return self.settings.gateway.files.public_url
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise Refusal(BAD_REQUEST, "The Host header is no host")
        return f"{request.url.scheme}://{host}"


async def _parts(request: Request) -> GatewayParts:  # a plain function would be called in a thread
    return cast("GatewayParts", request.app.state.parts)


async def caller_of(request: Request) -> Caller:
    """Return who is calling, by the request's credentials alone.

    Raises:
        Refusal: UNAUTHENTICATED, BAD_REQUEST, RATE_LIMITED.
    """
    headers = request.headers
    presented = Presented(
        internal_token=tuple(headers.getlist("x-internal-token")),
        authorization=tuple(headers.getlist("authorization")),
        api_key=tuple(headers.getlist("x-api-key")),
        forwarded_for=tuple(headers.getlist("x-forwarded-for")),
        peer=request.client.host if request.client else None,
        sandbox=request.scope.get("sandbox"),
    )
    return await (await _parts(request)).callers.identify(presented)


PartsNow = Annotated[GatewayParts, Depends(_parts)]
CallerNow = Annotated[Caller, Depends(caller_of)]
