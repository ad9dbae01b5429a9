"""Pure ASGI around the routes: a request id for each request, a bound on each body, a log line for each failure of ours."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders

from sandkit.wire.errors import INVALID_REQUEST, REQUEST_ID_HEADER, REQUEST_TIMEOUT, TOO_LARGE, ApiError
from sandyard.web.errors import reply

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LINGER_BYTES = 16 * 1024 * 1024
_LINGER_SECONDS = 2.0
_log = structlog.get_logger("sandyard.api")


class RequestIds:
    """Keeps the caller's X-Request-Id if it is sane, else makes one; on the scope and on every reply. Swallows what was logged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wished = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = wished if _SANE_ID.fullmatch(wished) else secrets.token_hex(16)
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # noqa: BLE001 (answered already, here it is logged)
            _log.exception("request failed", request_id=request_id, method=scope["method"], path=scope["path"])


class BodyLimit:
    """Reads JSON bodies whole, up to `limit` bytes within `seconds`; the paths in `streamed` bound their own
    (where one ends with a slash: all below it; `*` is any one part).
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float, streamed: Collection[str]) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._streamed = re.compile("|".join(map(_pattern, streamed)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._streamed.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ApiError as error:
            await _linger(receive)
            await reply(error, scope["request_id"], {"Connection": "close"})(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            raise self._too_large()
        body = bytearray()
        with anyio.move_on_after(self._seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(INVALID_REQUEST, "The client left before the end of the body")
                body += message.get("body", b"")
                if len(body) > self._limit:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return bytes(body)
        raise ApiError(REQUEST_TIMEOUT, f"The body did not arrive within {self._seconds:.0f} seconds")

    def _too_large(self) -> ApiError:
        return ApiError(TOO_LARGE, f"The body is larger than {self._limit // 1024} KiB")


def _pattern(path: str) -> str:
    return re.escape(path).replace(r"\*", "[^/]*") + (".*" if path.endswith("/") else "")


async def _linger(receive: Receive) -> None:
    """Take in what is under way, within bounds: a client that is cut off while it sends would not read why."""
    taken = 0
    with anyio.move_on_after(_LINGER_SECONDS):
        while taken < _LINGER_BYTES:
            message = await receive()
            taken += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
