"""What is sent back: the envelope of seed 001 §3.4, and whose fault a failure was."""

from __future__ import annotations

import asyncio
import logging
import sys
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from sandkit.serving.values import to_json
from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.exceptions import HTTPException
    from typing_extensions import TypeIs

    from ppio_sandbox.agent_runtime.runtime.exchange import Exchange

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_TURN_SECONDS = 100e-6
"""So often, and after each chunk that is not one of a burst, a stream that never waits gives the event loop a turn: to write what was
sent, to serve others."""

_BURST = 16
_QUICK_SECONDS = 50e-6
"""After so many chunks that were made so quickly, further quick ones need not be written one by one."""

CLOSE_SECONDS = 5.0
"""So long a generator that is closed may take for its `finally`; then it is cancelled."""

Headers = list[tuple[bytes, bytes]]

_SUCCESS = b'{"result":%b,"status":"success","duration":%.6f,"metadata":{"request_id":"%b"},"error":null}'
_JSON = (b"content-type", b"application/json")
SSE_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class RequestError(Exception):
    """The caller's fault: what it sent cannot be served. `slug` is a word for programs, `headers` go with the reply."""

    def __init__(self, status: HTTPStatus, slug: str, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.headers = headers or []


def too_large(limit: int) -> RequestError:
    """Return the refusal of a body of more than `limit` bytes; the connection ends, since the rest is not read."""
    message = f"the body has more than {limit} bytes"
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message, [(b"connection", b"close")])


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers


class StreamReply(NamedTuple):
    """An answer in server-sent events: the frame `first`, and then `rest`."""

    first: bytes
    rest: AsyncGenerator[bytes]
    request_id: str

    @property
    def headers(self) -> Headers:
        """The headers of the stream."""
        return [*SSE_HEADERS, (b"x-request-id", self.request_id.encode())]


class Fault(NamedTuple):
    """A failure as callers are told it. `slug` is a word of ours, or the type of what the agent raised."""

    status: int
    slug: str
    message: str
    headers: Headers | None = None
    detail: Any = None
    """What an agent's HTTPException carries, if it is more than text."""


def fault(error: BaseException) -> Fault:
    """Return whose fault `error` was: 4xx for what the caller sent, 500 for what the agent raised, or what the agent says itself."""
    if isinstance(error, RequestError):
        return Fault(error.status, error.slug, str(error), error.headers)
    kind = type(error).__name__
    if _is_http(error):
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        detail: Any = error.detail
        if isinstance(detail, str):
            return Fault(error.status_code, kind, detail, headers)
        return Fault(error.status_code, kind, to_json(detail).decode(), headers, detail)
    text = str(error).encode("utf-8", "replace").decode()
    return Fault(500, kind, text or kind)


def _is_http(error: BaseException) -> TypeIs[HTTPException]:
    """Tell whether `error` is Starlette's HTTPException; an agent that raises one has imported it."""
    starlette = sys.modules.get("starlette.exceptions")
    return starlette is not None and isinstance(error, starlette.HTTPException)


class Envelopes:
    """How answers look to most callers: in the envelope of seed 001 §3.4."""

    @staticmethod
    def success(result: Any, seconds: float, request_id: str) -> Reply:
        """Return the envelope of what the agent returned; a request id is made of letters, digits, dots, hyphens and underscores."""
        return json_reply(200, _SUCCESS % (to_json(result), seconds, request_id.encode()), request_id)

    @staticmethod
    def failure(error: BaseException, seconds: float, request_id: str) -> Reply:
        """Return the envelope of a failure."""
        found = fault(error)
        envelope: dict[str, Any] = {"result": None, "status": "error", "duration": seconds, "metadata": {"request_id": request_id}}
        body = orjson.dumps({**envelope, "error": found.message, "error_type": found.slug})
        return json_reply(found.status, body, request_id, found.headers)

    @staticmethod
    def failure_event(error: BaseException, request_id: str) -> bytes:
        """Return the terminal event of a stream whose agent has raised."""
        found = fault(error)
        fields = {"error": found.message, "error_type": found.slug, "status": "error", "metadata": {"request_id": request_id}}
        return sse.encode(orjson.dumps(fields), sse.ERROR_EVENT)


ENVELOPES = Envelopes()


async def opened(chunks: AsyncIterator[Any], exchange: Exchange) -> StreamReply:
    """Return the stream of `chunks` once the first one exists: what the agent raises before it is raised here."""
    rest = _frames(chunks, exchange)
    return StreamReply(await anext(rest, b""), rest, exchange.request_id)


async def _frames(chunks: AsyncIterator[Any], exchange: Exchange) -> AsyncGenerator[bytes]:
    """Yield an event per chunk. What the agent raises after the first one becomes the terminal event."""
    turn = 0.0
    quick = 0
    asked = perf_counter()
    try:
        async for chunk in chunks:
            quick = quick + 1 if perf_counter() - asked < _QUICK_SECONDS else 0
            yield sse.JSON_EVENT % to_json(chunk)
            exchange.touched = asked = perf_counter()
            if quick < _BURST or asked - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn = asked = perf_counter()
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if turn == 0.0 or not exchange.is_failure(error):
            raise
        yield exchange.failed(error)
    finally:
        await closed(chunks)


async def closed(chunks: AsyncIterator[Any]) -> None:
    """Close the agent's generator: its `finally` runs now, not when it is collected, and has `CLOSE_SECONDS`."""
    close = getattr(chunks, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await close()
    except TimeoutError:
        logger.warning("a generator of the agent did not close within %g s and was cancelled", CLOSE_SECONDS)


def json_reply(status: int, body: bytes, request_id: str, headers: Headers | None = None) -> Reply:
    """Return a JSON answer that carries the request's id."""
    own = [_JSON, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
    return Reply(status, body, own + headers if headers else own)
