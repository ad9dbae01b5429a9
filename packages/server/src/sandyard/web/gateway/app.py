"""The gateway as one ASGI application: routers in a list, and what chooses between it and the control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from sandyard.version import VERSION
from sandyard.web.gateway import errors, jobs, prefabs, run

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sandyard.web.gateway.parts import GatewayParts

PREFIXES = ("/v1/", "/internal/")
"""The paths that are the gateway's; all others are the control plane's."""
_NOUNS = (run, jobs, prefabs)


def create_gateway(parts: GatewayParts) -> ASGIApp:
    """Return the gateway over `parts`. It bounds bodies itself and never redirects."""
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
    return app


class ByPath:
    """Sends requests to the gateway by their path, and everything else on."""

    def __init__(self, app: ASGIApp, gateway: ASGIApp) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith(PREFIXES)
        await (self._gateway if ours else self._app)(scope, receive, send)
