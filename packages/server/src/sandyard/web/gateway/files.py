"""The files' endpoints: uploads, temporary files, lists, signed URLs."""

# ruff: noqa: TC001, PLR0917 (FastAPI resolves the annotations at run time, and passes by name)

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Request

from sandkit.wire.gateway import VALIDATION_ERROR, Refusal
from sandyard.domain.files import File, FileKind
from sandyard.services.files.keeping import DEFAULT_TTL, LONGEST_GRANT, MOST_LISTED
from sandyard.services.files.uploading import UPLOAD_SECONDS
from sandyard.web.gateway.bodies import announced, read_json
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.multipart import read_form
from sandyard.web.gateway.parts import CallerNow, GatewayParts, PartsNow

if TYPE_CHECKING:
    from sandyard.services.files.keeping import Page

router = APIRouter(prefix="/internal/files", tags=["files"], responses=ERRORS)

_NAME = 4096
_NUMBER = re.compile(r"[0-9]{1,15}")
_FORM: dict[str, Any] = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
_TEMP: dict[str, Any] = _FORM | {"properties": {"ttl": {"type": "integer"}, "session_id": {"type": "string"}, **_FORM["properties"]}}
_OFFER: dict[str, Any] = {
    "type": "object",
    "required": ["filename"],
    "properties": {"filename": {"type": "string"}, "content_type": {"type": ["string", "null"]}},
}
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


def _body(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}


@router.post("/generate_upload_url", operation_id="generate_upload_url", openapi_extra=_body("application/json", _OFFER))
async def generate_upload_url(request: Request, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Return a URL that takes an input file's bytes by one PUT, and the s3:// URL that the file then has.

    Who says in `X-Upload-Content-Length` how many bytes there are may be sent to the bucket itself: by exactly so many, and with the
    `headers` of the answer.
    """
    body: Any = await read_json(request, limit=64 * 1024)
    wanted = cast("dict[str, object]", body) if isinstance(body, dict) else {}
    name, media = wanted.get("filename"), wanted.get("content_type")
    if not isinstance(name, str) or len(name) > _NAME or not isinstance(media, str | None):
        raise Refusal(VALIDATION_ERROR, "filename: must be a text of at most 4096 characters", pointer="/filename")
    file, address = await parts.files.offer_upload(
        caller, name, media, size=announced(request.headers, "x-upload-content-length"), past=_past(request)
    )
    offer = {"upload_url": parts.whole(request, address.url), "s3_url": parts.files.url(file), "expires_in": UPLOAD_SECONDS}
    return offer | ({"headers": dict(address.headers)} if address.headers else {})


@router.post("/upload", operation_id="upload_file", openapi_extra=_body("multipart/form-data", _FORM))
async def upload(request: Request, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Store an agent's output for good."""
    form = await read_form(request)
    return _stored(parts, await parts.files.upload(caller, form.name, form.media, form.chunks))


@router.post("/upload_temp", operation_id="upload_temp_file", openapi_extra=_body("multipart/form-data", _TEMP))
async def upload_temp(request: Request, caller: CallerNow, parts: PartsNow) -> dict[str, Any]:
    """Store an agent's file for `ttl` seconds (a day, if nothing is said)."""
    form = await read_form(request)
    ttl = form.fields.get("ttl", str(DEFAULT_TTL))
    if not _NUMBER.fullmatch(ttl):
        raise Refusal(VALIDATION_ERROR, "ttl: must be a number of seconds", pointer="/ttl")
    session = form.fields.get("session_id")
    file = await parts.files.upload_temp(caller, form.name, form.media, form.chunks, ttl=int(ttl), session=session)
    return _stored(parts, file)


@router.get("/download", operation_id="download_file")
async def download(
    request: Request,
    caller: CallerNow,
    parts: PartsNow,
    s3_url: str,
    mode: Literal["presigned"] = "presigned",
    expires_in: Annotated[int, Query(ge=1, le=LONGEST_GRANT)] = 3600,
) -> dict[str, Any]:
    """Return a URL by which the file can be read without any credential, for `expires_in` seconds."""
    del mode
    address = await parts.files.offer_download(caller, s3_url, expires_in, past=_past(request))
    return {"presigned_url": parts.whole(request, address), "expires_in": expires_in}


@router.get("/list", operation_id="list_files")
async def list_files(caller: CallerNow, parts: PartsNow, limit: Limit = 100, continuation_token: str | None = None) -> dict[str, Any]:
    """List the agent's lasting files."""
    return _page(parts, await parts.files.list(caller, FileKind.OUTPUT, session=None, limit=limit, token=continuation_token))


@router.get("/list_temp", operation_id="list_temp_files")
async def list_temp(
    caller: CallerNow, parts: PartsNow, limit: Limit = 100, continuation_token: str | None = None, session_id: str | None = None
) -> dict[str, Any]:
    """List the agent's temporary files, of one session or all."""
    return _page(parts, await parts.files.list(caller, FileKind.WORKSPACE, session=session_id, limit=limit, token=continuation_token))


@router.delete("/cleanup_temp", operation_id="cleanup_temp_files")
async def cleanup_temp(caller: CallerNow, parts: PartsNow, session_id: str) -> dict[str, int]:
    """Delete the agent's temporary files of exactly that session."""
    return {"deleted_count": await parts.files.cleanup(caller, session_id)}


def _past(request: Request) -> bool:
    """Whether the caller may be sent past this server: from inside a sandbox only the gateway itself can be reached."""
    return request.scope.get("sandbox") is None


def _stored(parts: GatewayParts, file: File) -> dict[str, Any]:
    found: dict[str, Any] = {"success": True, "s3_url": parts.files.url(file), "filename": file.name, "size": file.size}
    return found if file.expires_at is None else found | {"expires_at": _time(file.expires_at)}


def _page(parts: GatewayParts, page: Page) -> dict[str, Any]:
    files = [_listed(parts, file) for file in page.files]
    return {"files": files} | ({} if page.next_token is None else {"next_token": page.next_token})


def _listed(parts: GatewayParts, file: File) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "key": file.key,
        "filename": file.name,
        "size": file.size,
        "last_modified": _time(file.created_at),
        "s3_url": parts.files.url(file),
    }
    return shown if file.expires_at is None else shown | {"expires_at": _time(file.expires_at)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
