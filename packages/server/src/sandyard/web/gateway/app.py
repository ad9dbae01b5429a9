"""The gateway as one ASGI application: routers in a list, and what chooses between it and the control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.routing import Route

from sandyard.version import VERSION
from sandyard.web.gateway import auth, blobs, errors, files, jobs, late_tools, logs, prefabs, run, secrets, usage, webhooks

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sandyard.services.origins import Origins
    from sandyard.web.gateway.late_tools import LateTools
    from sandyard.web.gateway.parts import GatewayParts

PREFIXES = ("/v1/", "/internal/", "/mcp/")
"""The paths that are the gateway's; all others are the control plane's."""
_NOUNS = (auth, run, jobs, logs, files, blobs, secrets, usage, webhooks, prefabs)


def create_gateway(parts: GatewayParts, tools: LateTools) -> ASGIApp:
    """Return the gateway over `parts`, with the endpoint of its tools. It bounds bodies itself and never redirects."""
    app = FastAPI(
        title="Sandyard gateway",
        version=VERSION,
        redirect_slashes=False,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    errors.install(app)
    for noun in _NOUNS:
        app.include_router(noun.router)
    for path in late_tools.PATHS:
        app.router.routes.append(Route(path, tools))
    return app


class ByPath:
    """Sends requests to the gateway by their path, and everything else on. Sandboxes reach the gateway only."""

    def __init__(self, app: ASGIApp, gateway: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._gateway = gateway
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sandbox = self._origins.of(scope.get("client")) if scope["type"] == "http" else None
        if sandbox is not None:
            scope["sandbox"] = sandbox
        ours = sandbox is not None or (scope["type"] == "http" and (scope["path"].startswith(PREFIXES) or scope["path"] == "/mcp"))
        await (self._gateway if ours else self._app)(scope, receive, send)
