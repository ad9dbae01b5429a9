"""The ingress' own answers."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandkit.wire.errors import ApiError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def error_reply(error: ApiError, *, request_id: bytes, sandbox_id: str | None, close: bool, head_only: bool) -> bytes:
    """Return a whole error response: the project's error body, with `sandboxId` beside it as E2B's clients expect."""
    fields = error.body()
    if sandbox_id is not None:
        fields = {"sandboxId": sandbox_id, **fields}
    fields["request_id"] = request_id.decode("latin-1")
    body = json.dumps(fields, ensure_ascii=False).encode()
    lines = [
        f"HTTP/1.1 {error.problem.status} {HTTPStatus(error.problem.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: {fields['request_id']}",
        *(["connection: close"] if close else []),
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return head if head_only else head + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
