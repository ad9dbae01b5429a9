"""What changes a sandbox's life: time-out, pause, resume, reset, its network, its end."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response, status

from sandkit.wire.sandboxes import ConnectSandbox, EgressOptions, PauseSandbox, Refresh, Reset, ResetSandbox, Sandbox, SetTimeout
from sandkit.wire.volumes import MountedVolume
from sandyard.web import render
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services
from sandyard.web.sandboxes import wishes

router = APIRouter(tags=["sandboxes"], responses=ERRORS)

_REFRESH_SECONDS = 60
Path = Annotated[str, Query(max_length=4096)]
_NOTHING = status.HTTP_204_NO_CONTENT


@router.delete("/sandboxes/{sandbox_id}", status_code=_NOTHING, operation_id="kill_sandbox")
async def kill(sandbox_id: str, owner: Owner, services: Services) -> None:
    """End a sandbox; answers when nothing of it is left."""
    await services.sandboxes.kill(owner, sandbox_id)


@router.post("/sandboxes/{sandbox_id}/timeout", status_code=_NOTHING, operation_id="set_sandbox_timeout")
async def set_timeout(sandbox_id: str, owner: Owner, services: Services, body: SetTimeout) -> None:
    """Let the sandbox end that many seconds from now."""
    await services.sandboxes.set_timeout(owner, sandbox_id, body.timeout)


@router.post("/sandboxes/{sandbox_id}/refreshes", status_code=_NOTHING, operation_id="refresh_sandbox")
async def refresh(sandbox_id: str, owner: Owner, services: Services, body: Annotated[Refresh | None, Body()] = None) -> None:
    """Let the sandbox live at least that many seconds from now."""
    duration = _REFRESH_SECONDS if body is None or body.duration is None else body.duration
    await services.sandboxes.set_timeout(owner, sandbox_id, duration, only_later=True)


@router.post("/sandboxes/{sandbox_id}/pause", status_code=_NOTHING, operation_id="pause_sandbox")
async def pause(sandbox_id: str, owner: Owner, services: Services, body: Annotated[PauseSandbox | None, Body()] = None) -> None:
    """Pause a sandbox where it stands, memory kept; with `memory: false` its files only. 409 if it is paused already."""
    await services.sandboxes.pause(owner, sandbox_id, memory=body is None or body.memory)


@router.post(
    "/v2/sandboxes/{sandbox_id}/connect",
    operation_id="connect_sandbox",
    responses={201: {"model": Sandbox}},
    response_model_exclude_none=True,
)
@router.post("/sandboxes/{sandbox_id}/connect", include_in_schema=False, response_model_exclude_none=True)
async def connect(
    sandbox_id: str, response: Response, owner: Owner, services: Services, body: Annotated[ConnectSandbox | None, Body()] = None
) -> Sandbox:
    """Resume a paused sandbox (201), or extend a running one's time (200)."""
    wanted = body or ConnectSandbox(timeout=None)
    ways = wishes.ways(wanted.network, wanted.allow_public_traffic, services.check_entry)
    view, resumed = await services.sandboxes.connect(owner, sandbox_id, wanted.timeout, memory=wanted.memory, ways=ways)
    response.status_code = status.HTTP_201_CREATED if resumed else status.HTTP_200_OK
    return render.sandbox(view)


@router.post(
    "/sandboxes/{sandbox_id}/resume",
    status_code=status.HTTP_201_CREATED,
    deprecated=True,
    operation_id="resume_sandbox",
    response_model_exclude_none=True,
)
async def resume(sandbox_id: str, owner: Owner, services: Services, body: Annotated[ConnectSandbox | None, Body()] = None) -> Sandbox:
    """Use connect."""
    wanted = body or ConnectSandbox(timeout=None)
    view, _ = await services.sandboxes.connect(owner, sandbox_id, wanted.timeout, memory=wanted.memory)
    return render.sandbox(view)


@router.post("/sandboxes/{sandbox_id}/reset", operation_id="reset_sandbox", response_model_exclude_none=True)
async def reset(sandbox_id: str, owner: Owner, services: Services, body: Annotated[ResetSandbox | None, Body()] = None) -> Reset:
    """Take a sandbox back to what it was made from: its processes and what it wrote are gone, its id and tokens stay."""
    wanted = body or ResetSandbox(timeout=None)
    ways = wishes.ways(wanted.network, None, services.check_entry)
    view = await services.sandboxes.reset(owner, sandbox_id, wanted.timeout, resume=wanted.resume, ways=ways)
    return Reset(traffic_access_token=view.traffic_token)


@router.put("/sandboxes/{sandbox_id}/network", status_code=_NOTHING, operation_id="set_sandbox_network")
async def set_network(sandbox_id: str, owner: Owner, services: Services, body: EgressOptions) -> None:
    """Replace what a sandbox may reach; connections that stand and lead to what is refused now are cut."""
    await services.sandboxes.set_network(owner, sandbox_id, wishes.network(body, services.check_entry))


@router.post("/sandboxes/{sandbox_id}/volume-mounts", status_code=status.HTTP_201_CREATED, operation_id="mount_volume")
async def mount(sandbox_id: str, owner: Owner, services: Services, body: MountedVolume) -> MountedVolume:
    """Give a sandbox that runs, or is paused, a volume more."""
    given = await services.attaching.attach(owner, sandbox_id, body.name, body.path)
    return MountedVolume(name=given.name, path=given.path)


@router.delete("/sandboxes/{sandbox_id}/volume-mounts", operation_id="unmount_volume")
async def unmount(sandbox_id: str, owner: Owner, services: Services, path: Path, force: bool = False) -> MountedVolume:
    """Take from a sandbox the volume at a path; 409 while files in it are open, unless `force` is true."""
    taken = await services.attaching.detach(owner, sandbox_id, path, force=force)
    return MountedVolume(name=taken.name, path=taken.path)


@router.post("/sandboxes/{sandbox_id}/hotplug-memory", status_code=status.HTTP_501_NOT_IMPLEMENTED, operation_id="hotplug_memory")
async def hotplug_memory(sandbox_id: str, owner: Owner, services: Services) -> None:
    """Not available; says why."""
    await services.sandboxes.get(owner, sandbox_id)
    raise wishes.refuse("hotplug")
