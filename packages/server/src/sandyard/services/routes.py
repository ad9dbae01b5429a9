"""A sandbox as the ingress sees it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sandyard.catalog import Route
from sandyard.services.origins import GATEWAY_URL

if TYPE_CHECKING:
    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import SandboxSpec
    from sandyard.services.context import AccessTokens


def route_of(row: Sandbox, agent: str, tokens: AccessTokens) -> Route:
    """Return the route of a sandbox of the template `agent`."""
    route = Route(sandbox_id=row.id, owner=row.owner, agent=agent, state=row.state, access_token=tokens.access_token(row.id))
    return shown(route, row, tokens)


def identified(spec: SandboxSpec, route: Route | None, tokens: AccessTokens) -> SandboxSpec:
    """Return the spec of an agent's sandbox with what its code calls the gateway by, outside of requests too; others have none.

    The token is short-lived. From this very sandbox it is taken for as long as it lives (`services.origins`): nobody renews it.
    """
    if route is None or not spec.command:
        return spec
    return replace(spec, env={**spec.env, "X_INTERNAL_TOKEN": tokens.internal_token(route), "GATEWAY_BASE_URL": GATEWAY_URL})


def shown(route: Route, row: Sandbox, tokens: AccessTokens) -> Route:
    """Return the route with what changes in a sandbox's life. Traffic resumes only what has its memory, as with E2B."""
    return replace(
        route,
        state=row.state,
        public=row.public,
        traffic_token="" if row.public else tokens.traffic_token(row.id),
        mask_request_host=row.network.mask_request_host,
        https_ports=row.network.https_ports,
        auto_resume=row.auto_resume and not row.saved,
        reason=row.reason,
        exit_code=row.exit_code,
        output=row.output,
    )
