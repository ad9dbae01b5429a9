"""`/instances`: apps that run elsewhere send heartbeats here, and are asked to reload from here."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from fastapi import APIRouter, status

from sandkit.wire.instances import AskInstance, Heartbeat, InstanceId, InstanceInfo, Wanted
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services

router = APIRouter(tags=["instances"], responses=ERRORS)


@router.post("/instances/{instance_id}/heartbeat", status_code=status.HTTP_204_NO_CONTENT, operation_id="heartbeat")
async def heartbeat(instance_id: InstanceId, body: Heartbeat, owner: Owner, services: Services) -> None:
    """Note that an instance lives."""
    services.instances.heard(owner, instance_id, body, services.clock.now())


@router.get("/instances/{instance_id}/config", operation_id="wanted_of_instance")
async def config(instance_id: InstanceId, owner: Owner, services: Services) -> Wanted:
    """Tell an instance, once, what it shall do."""
    return services.instances.wanted(owner, instance_id)


@router.post("/instances/{instance_id}/action", status_code=status.HTTP_204_NO_CONTENT, operation_id="ask_instance")
async def ask(instance_id: InstanceId, body: AskInstance, owner: Owner, services: Services) -> None:
    """Have an instance reload or restart, at its next heartbeat."""
    services.instances.ask(owner, instance_id, body.action)


@router.get("/instances", operation_id="list_instances")
async def instances(owner: Owner, services: Services) -> list[InstanceInfo]:
    """List the caller's instances that have reported lately."""
    return services.instances.all(owner, services.clock.now())
