"""What the routes are given, and how they get it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

from fastapi import Depends, Request

from sandkit.wire import signing
from sandkit.wire.errors import UNAUTHENTICATED, ApiError
from sandyard.services.instances import Instances
from sandyard.services.keys import why_refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.config import Settings
    from sandyard.ports import Clock
    from sandyard.services.audit.refusals import Refusals
    from sandyard.services.build_logs import BuildLogs
    from sandyard.services.copies import Copies
    from sandyard.services.deployments import Deployments
    from sandyard.services.prefabs.neighbours import Audit
    from sandyard.services.recipes import Recipes
    from sandyard.services.sandbox_secrets import SandboxSecrets
    from sandyard.services.sandboxes import Sandboxes
    from sandyard.services.signatures import Signatures
    from sandyard.services.snapshots import Snapshots
    from sandyard.services.templates import Templates
    from sandyard.services.volumes.attaching import Attaching
    from sandyard.services.volumes.volumes import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The services behind the control plane.

    `owner_of` returns who an API key belongs to, or None; `check_entry` raises ValueError for what is no entry of an
    `EgressPolicy`.
    """

    settings: Settings
    sandboxes: Sandboxes
    copies: Copies
    snapshots: Snapshots
    templates: Templates
    deployments: Deployments
    build_logs: BuildLogs
    recipes: Recipes
    volumes: Volumes
    attaching: Attaching
    secrets: SandboxSecrets
    owner_of: Callable[[str], Awaitable[str | None]]
    signatures: Signatures
    audit: Audit
    refusals: Refusals
    check_entry: Callable[[str], object]
    clock: Clock
    instances: Instances = field(default_factory=Instances)


def _parts(request: Request) -> Parts:
    return cast("Parts", request.app.state.parts)


async def _owner(request: Request) -> str:
    try:
        return await _shown(request)
    except ApiError as error:
        if error.problem is UNAUTHENTICATED and ("authorization" in request.headers or "x-api-key" in request.headers):
            _parts(request).refusals.count(request.client.host if request.client else "", "API key or signature")
        raise


async def _shown(request: Request) -> str:
    if signing.is_signed(request.headers.get("authorization", "")):
        return await _signer(request)
    key = request.headers.get("x-api-key")
    if key is None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = bearer.strip() if scheme.lower() == "bearer" else None
    if not key:
        raise ApiError(UNAUTHENTICATED, "An API key is needed, in X-API-Key or as Authorization: Bearer")
    owner = await _parts(request).owner_of(key)
    if owner is None:
        raise ApiError(UNAUTHENTICATED, why_refused(key))
    return owner


async def _signer(request: Request) -> str:
    target = signing.target_of(quote(request.scope["path"]), request.url.query)
    try:
        signed = signing.read(request.headers)
    except ValueError as error:
        raise ApiError(UNAUTHENTICATED, str(error)) from error
    return await _parts(request).signatures.owner_of(signed, request.method, target, request.body)


Services = Annotated[Parts, Depends(_parts)]
Owner = Annotated[str, Depends(_owner)]
