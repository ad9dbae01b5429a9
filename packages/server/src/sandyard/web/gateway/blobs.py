"""`/v1/blobs/{key}`: bytes by signed URLs. No credential is asked for, none is read; the signature is all there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from sandkit.wire.gateway import RANGE_NOT_SATISFIABLE, Refusal
from sandyard.web.gateway.bodies import announced
from sandyard.web.gateway.errors import ERRORS
from sandyard.web.gateway.parts import PartsNow  # noqa: TC001 (FastAPI resolves the annotations at run time)

if TYPE_CHECKING:
    from sandyard.domain.files import File
    from sandyard.web.gateway.parts import GatewayParts

router = APIRouter(tags=["files"], responses=ERRORS)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]


@router.api_route("/v1/blobs/{key:path}", methods=_METHODS, operation_id="blob", include_in_schema=False)
async def blob(key: str, request: Request, parts: PartsNow) -> Response:
    """Take or give a file's bytes, whichever the URL is signed for."""
    grant = parts.signer.check(request.method, key, request.query_params, parts.clock.now())
    if grant.method == "GET":
        return _read(parts, await parts.files.granted(grant), request)
    size = announced(request.headers, "content-length")
    await parts.files.take_upload(grant, request.headers.get("content-type"), size, request.stream())
    return Response(status_code=200, headers={"Cache-Control": "no-store"})


def _read(parts: GatewayParts, file: File, request: Request) -> Response:
    """Give a file as it is, as something to keep and never to show: its content is a stranger's."""
    tag = f'"{file.key.split("/")[-2]}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Type": file.media or "application/octet-stream",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if tag in {part.strip() for part in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    part = _part(request, tag, file.size)
    start, end = part or (0, file.size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers)
    return StreamingResponse(parts.files.content(file, start, end), status, headers)


def _part(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Return the part that is asked for (RFC 9110 §14): one range, or None for all of it.

    Raises:
        Refusal: RANGE_NOT_SATISFIABLE.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or request.headers.get("if-range", tag) != tag or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        message = f"The file has {size} bytes"
        raise Refusal(RANGE_NOT_SATISFIABLE, message, size=size, headers={"Content-Range": f"bytes */{size}"})
    return start, end
