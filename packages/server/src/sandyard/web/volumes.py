"""`/volumes` and `/volumecontent`: directories that outlive sandboxes, and what lies in them (sandbox-protocol §1.3)."""

# ruff: noqa: TC001 (FastAPI resolves the annotations at run time)

# ruff: noqa: PLR0917, FAST003 (FastAPI passes by name; the dependency takes the volume's id)

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, status
from fastapi.responses import StreamingResponse

from sandkit.wire.volumes import ChangeEntry, ChangeVolume, Id, Mode, NewVolume, Volume, VolumeAndToken, VolumeEntry
from sandyard.services.volumes.content import Content
from sandyard.services.volumes.files import Attributes
from sandyard.services.volumes.volumes import GIBIBYTE
from sandyard.web.errors import ERRORS
from sandyard.web.parts import Owner, Services
from sandyard.web.render_given import entry, volume
from sandyard.web.sandboxes.wishes import refuse

router = APIRouter(tags=["volumes"], responses=ERRORS)

_CREATED = status.HTTP_201_CREATED
_NOTHING = status.HTTP_204_NO_CONTENT
Path = Annotated[str, Query(max_length=4096)]


@router.post("/volumes", status_code=_CREATED, operation_id="create_volume", response_model_exclude_none=True)
async def create(owner: Owner, services: Services, body: NewVolume) -> VolumeAndToken:
    """Make an empty volume. What a quota promises is reserved at once (507 where there is no room, 501 where it could not be kept)."""
    size = _bytes_of(body.quota_size_gib)
    return volume(services.volumes, await services.volumes.create(owner, body.name, size_bytes=size, inodes=body.quota_inodes))


@router.get("/volumes", operation_id="list_volumes")
async def list_volumes(owner: Owner, services: Services) -> list[Volume]:
    """List the caller's volumes, oldest first."""
    return [Volume(volumeID=each.id, name=each.name) for each in await services.volumes.list(owner)]


@router.get("/volumes/{volume_id}", operation_id="get_volume", response_model_exclude_none=True)
async def get(volume_id: str, owner: Owner, services: Services) -> VolumeAndToken:
    """Describe a volume, with the token that admits to what lies in it."""
    return volume(services.volumes, await services.volumes.get(owner, volume_id))


@router.patch("/volumes/{volume_id}", operation_id="change_volume", response_model_exclude_none=True)
async def change(volume_id: str, owner: Owner, services: Services, body: ChangeVolume) -> VolumeAndToken:
    """Call a volume otherwise. Its quotas stay as they were made."""
    found = await services.volumes.get(owner, volume_id)
    wished = (_bytes_of(body.quota_size_gib), body.quota_inodes)
    if any(value not in (None, kept) for value, kept in zip(wished, (found.size_bytes, found.inodes), strict=True)):
        raise refuse("other volume quotas")
    return volume(services.volumes, found if body.name is None else await services.volumes.rename(owner, volume_id, body.name))


@router.delete("/volumes/{volume_id}", status_code=_NOTHING, operation_id="delete_volume")
async def delete(volume_id: str, owner: Owner, services: Services) -> None:
    """Delete a volume with what lies in it; 409 as long as a sandbox has it that has not ended."""
    await services.volumes.delete(owner, volume_id)


async def _content(volume_id: str, services: Services, authorization: Annotated[str, Header()] = "") -> Content:
    return await services.volumes.content(volume_id, authorization.partition(" ")[2].strip())


Inside = Annotated[Content, Depends(_content)]


@router.get("/volumecontent/{volume_id}/path", operation_id="look_into_volume", response_model_exclude_none=True)
async def look(content: Inside, path: Path) -> VolumeEntry:
    """Describe what is at a path; of a link the link."""
    return entry(await content.look(path))


@router.patch("/volumecontent/{volume_id}/path", operation_id="change_volume_entry", response_model_exclude_none=True)
async def change_entry(content: Inside, path: Path, body: ChangeEntry) -> VolumeEntry:
    """Give a file or a directory another owner or mode."""
    return entry(await content.change(path, Attributes(uid=body.uid, gid=body.gid, mode=body.mode)))


@router.delete("/volumecontent/{volume_id}/path", status_code=_NOTHING, operation_id="remove_volume_entry")
async def remove(content: Inside, path: Path) -> None:
    """Remove a file, or a directory with all in it."""
    await content.remove(path)


@router.get("/volumecontent/{volume_id}/dir", operation_id="list_volume_directory", response_model_exclude_none=True)
async def list_directory(content: Inside, path: Path, depth: Annotated[int, Query(ge=1, le=100)] = 1) -> list[VolumeEntry]:
    """List a directory, `depth` levels deep, by path."""
    return [entry(each) for each in await content.list(path, depth)]


@router.post("/volumecontent/{volume_id}/dir", status_code=_CREATED, operation_id="make_volume_directory", response_model_exclude_none=True)
async def make_directory(
    content: Inside, path: Path, uid: Id | None = None, gid: Id | None = None, mode: Mode | None = None, force: bool | None = None
) -> VolumeEntry:
    """Make a directory; with `force` also those above it."""
    return entry(await content.make(path, Attributes(uid=uid, gid=gid, mode=mode), force=bool(force)))


@router.get("/volumecontent/{volume_id}/file", operation_id="read_volume_file", response_class=StreamingResponse)
async def read(content: Inside, path: Path) -> StreamingResponse:
    """Return a file's bytes."""
    size, chunks = await content.read(path)
    return StreamingResponse(chunks, media_type="application/octet-stream", headers={"Content-Length": str(size)})


@router.put("/volumecontent/{volume_id}/file", status_code=_CREATED, operation_id="write_volume_file", response_model_exclude_none=True)
async def write(
    request: Request,
    content: Inside,
    path: Path,
    uid: Id | None = None,
    gid: Id | None = None,
    mode: Mode | None = None,
    force: bool | None = None,
) -> VolumeEntry:
    """Write a file: it is there whole and at once, or not at all. `force=true` makes missing directories; `force=false` replaces
    nothing.
    """
    return entry(await content.write(path, request.stream(), Attributes(uid=uid, gid=gid, mode=mode), force=force))


def _bytes_of(gibibytes: float | None) -> int | None:
    return None if gibibytes is None else int(gibibytes * GIBIBYTE)
