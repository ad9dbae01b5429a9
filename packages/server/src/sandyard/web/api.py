"""The control plane as one ASGI application: middlewares folded over the routers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from fastapi import FastAPI

from sandyard.version import VERSION
from sandyard.web import agents, errors, health, instances, recipes, sandboxes, secrets, templates, volumes
from sandyard.web.gateway.app import ByPath
from sandyard.web.middleware import BodyLimit, RequestIds
from sandyard.web.slashes import EncodedSlashes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from sandyard.services.origins import Origins
    from sandyard.web.parts import Parts

_JSON_BYTES = 1024 * 1024
_JSON_SECONDS = 30.0
_STREAMED = ("/agents", "/uploads/", "/volumecontent/*/file")
_NAMED = ("/templates/", "/v2/templates/")
"""Paths below which a part may be a name with a slash."""


def create_api(parts: Parts, gateway: ASGIApp, origins: Origins) -> ASGIApp:
    """Return the control plane over `parts`, with the gateway beside it."""
    # FastAPI silences this about its own way with bodies, but only where it makes a validator; messages have theirs built at first use.
    warnings.filterwarnings("ignore", message="The 'alias' attribute with value 'body'")
    api = FastAPI(title="Sandyard", version=VERSION, redirect_slashes=False)
    api.state.parts = parts
    errors.install(api)
    for noun in (health, agents, recipes, templates, sandboxes, instances, volumes, secrets):
        api.include_router(noun.router)
    bounded = BodyLimit(EncodedSlashes(api, prefixes=_NAMED), limit=_JSON_BYTES, seconds=_JSON_SECONDS, streamed=_STREAMED)
    return RequestIds(ByPath(bounded, gateway, origins))
