"""`/secrets`: what both vendors' clients call by the same paths and in other shapes; their `publisher` header says whose they are."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917 (FastAPI passes by name)

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response, status

from sandkit.wire.secrets import ChangeSecret, Deleted, HostSecret, HostSecrets, NewSecret, Secret
from sandyard.domain.callers import tenant
from sandyard.domain.secrets import SandboxSecret
from sandyard.services.sandbox_secrets import SecretWish
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Parts, Services
from sandyard.web.render_given import host_secret, secret

router = APIRouter(tags=["secrets"], responses=ERRORS)

Publisher = Annotated[str, Header(max_length=100)]
_HOSTS = ("ppio", "novita")
"""Publishers whose secrets are for hosts."""
_MOST = 1000


@router.post("/secrets", status_code=status.HTTP_201_CREATED, operation_id="create_secret")
async def create(owner: Owner, services: Services, body: NewSecret, publisher: Publisher = "") -> Secret | HostSecret:
    """Keep a secret; its value is never shown again. E2B's names are in lower case."""
    for_hosts = publisher in _HOSTS
    wish = SecretWish(value=body.value, metadata=body.metadata, hosts=body.hosts, description=body.description)
    name = body.name if for_hosts else body.name.lower()
    row = await _noted(owner, services, "secrets.set", await services.secrets.create(owner, name, wish))
    return host_secret(row) if for_hosts else secret(row)


@router.get("/secrets", operation_id="list_secrets")
async def list_secrets(
    response: Response,
    owner: Owner,
    services: Services,
    publisher: Publisher = "",
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
    next_token: Annotated[str, Query(alias="nextToken", max_length=200)] = "",
) -> list[Secret] | HostSecrets:
    """List the caller's secrets by name; for E2B's clients in pages, to the next of which the header X-Next-Token leads."""
    if publisher in _HOSTS:
        return HostSecrets(secrets=[host_secret(row) for row in await services.secrets.list(owner, _MOST)])
    rows = await services.secrets.list(owner, limit + 1, next_token)
    if len(rows) > limit:
        response.headers["X-Next-Token"] = rows[limit - 1].name
    return [secret(row) for row in rows[:limit]]


@router.get("/secrets/{reference}", operation_id="get_secret")
async def get(reference: str, owner: Owner, services: Services, publisher: Publisher = "") -> Secret | HostSecret:
    """Describe a secret, by its id or name."""
    row = await services.secrets.get(owner, reference)
    return host_secret(row) if publisher in _HOSTS else secret(row)


@router.post("/secrets/{reference}", operation_id="update_secret")
async def update(reference: str, owner: Owner, services: Services, body: ChangeSecret) -> Secret:
    """Give a secret a new value; sandboxes that have the old one keep it."""
    return secret(await _noted(owner, services, "secrets.set", await services.secrets.update(owner, reference, _wish(body))))


@router.put("/secrets/{name}", operation_id="replace_secret")
async def replace(name: str, owner: Owner, services: Services, body: ChangeSecret) -> HostSecret:
    """As update, for PPIO's clients."""
    return host_secret(await _noted(owner, services, "secrets.set", await services.secrets.update(owner, name, _wish(body))))


@router.delete(
    "/secrets/{reference}", operation_id="delete_secret", response_model=None, responses={200: {"model": Deleted}, 204: {"model": None}}
)
async def delete(reference: str, owner: Owner, services: Services, publisher: Publisher = "") -> Deleted | Response:
    """Forget a secret; sandboxes that have it keep it."""
    row = await _noted(owner, services, "secrets.forget", await services.secrets.remove(owner, reference))
    return Deleted(deleted=row.name) if publisher in _HOSTS else Response(status_code=status.HTTP_204_NO_CONTENT)


async def _noted(owner: str, services: Parts, action: str, row: SandboxSecret) -> SandboxSecret:
    await services.audit.note(tenant(owner), action, f"sandboxes/{row.name}", "SUCCESS")
    return row


def _wish(body: ChangeSecret) -> SecretWish:
    return SecretWish(value=body.value, metadata=body.metadata, hosts=body.hosts, description=body.description)
