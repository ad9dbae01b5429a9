"""Reading bodies with bounds, and JSON strictly: no duplicates, no NaN, no half characters, no depth that costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import anyio
import orjson

from sandkit.wire.gateway import BAD_REQUEST, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE, Refusal

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.datastructures import Headers

JSON_LIMIT = 8 * 1024 * 1024
"""Bytes of a JSON body, whatever its Content-Length says."""
JSON_MEDIA = "application/json"
BODY_SECONDS = 30.0
_DIGITS = 18


async def read_json(request: Request, *, limit: int = JSON_LIMIT) -> Any:
    """Return the decoded body.

    Raises:
        Refusal: UNSUPPORTED_MEDIA_TYPE (not JSON, or compressed), PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, BAD_REQUEST (no strict JSON).
    """
    return parse_json(await read_body(request, limit=limit, media=JSON_MEDIA))


async def read_body(request: Request, *, limit: int, media: str) -> bytes:
    """Return the whole body of that media type, up to `limit` bytes within 30 seconds.

    Raises:
        Refusal: as `read_json`.
    """
    found = request.headers.get("content-type", media).partition(";")[0].strip().lower()
    if found != media:
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, f"The body must be {media}, not {found[:100]!r}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "Compressed bodies are not accepted")
    too_large = Refusal(PAYLOAD_TOO_LARGE, f"The body is larger than {limit // 1024} KiB", limit=limit)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)
    raise Refusal(REQUEST_TIMEOUT, f"The body did not arrive within {BODY_SECONDS:.0f} seconds")


def parse_json(body: bytes) -> Any:
    """Decode strictly.

    Raises:
        Refusal: BAD_REQUEST.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(BAD_REQUEST, f"The body is not JSON: {error}") from None
    if body.count(b":") > _keys(value):  # a colon for every key, and perhaps some in texts: else none can be there twice
        json.loads(body, object_pairs_hook=_unique)
    return value


def _keys(value: Any) -> int:
    """Count the keys of all objects in a decoded document, without recursion."""
    count, pending = 0, [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            found = cast("dict[str, Any]", item)
            count += len(found)
            pending.extend(found.values())
        elif isinstance(item, list):
            pending.extend(cast("list[Any]", item))
    return count


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal(BAD_REQUEST, "The body has a key twice in one object")
    return found


def announced(headers: Headers, name: str) -> int | None:
    """Return the number of bytes that a header announces, or None where it does not."""
    told = headers.get(name, "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) <= _DIGITS else None
