"""What is sent back: the envelope of seed 001 §3.4, and whose fault a failure was."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from sandkit.serving.values import to_json
from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_TURN_SECONDS = 100e-6
"""So often, and after its first chunk, a stream that never waits gives the event loop a turn: to write what was sent, to serve others."""

Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_SSE_HEADERS: Headers = [
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
        return [*_SSE_HEADERS, (b"x-request-id", self.request_id.encode())]


async def opened(chunks: AsyncIterator[Any], request_id: str) -> StreamReply:
    """Return the stream of `chunks` once the first one exists: what the agent raises before it is raised here."""
    rest = _frames(chunks, request_id)
    return StreamReply(await anext(rest, b""), rest, request_id)


async def _frames(chunks: AsyncIterator[Any], request_id: str) -> AsyncGenerator[bytes]:
    """Yield an event per chunk. What the agent raises after the first one becomes the terminal event."""
    turn = 0.0
    try:
        async for chunk in chunks:
            yield sse.encode(to_json(chunk))
            if perf_counter() - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn = perf_counter()
    except (Exception, SystemExit) as error:
        if turn == 0.0:
            raise
        logger.exception("the agent failed in the middle of a stream (request %s)", request_id)
        yield _failure_event(error, request_id)
    finally:
        await closed(chunks)


async def closed(chunks: AsyncIterator[Any]) -> None:
    """Close the agent's generator: its `finally` runs now, not when it is collected."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


def success(result: Any, seconds: float, request_id: str) -> Reply:
    """Return the envelope of what the agent returned; a request id is made of letters, digits, dots, hyphens and underscores."""
    rest = b',"status":"success","duration":%.6f,"metadata":{"request_id":"%b"},"error":null}' % (seconds, request_id.encode())
    return json_reply(200, b'{"result":' + to_json(result) + rest, request_id)


def failure(error: BaseException, seconds: float, request_id: str) -> Reply:
    """Return the envelope of a failure: 4xx for what the caller sent, 500 for what the agent raised."""
    envelope: dict[str, Any] = {"result": None, "status": "error", "duration": seconds, "metadata": {"request_id": request_id}}
    if isinstance(error, RequestError):
        body = orjson.dumps({**envelope, "error": str(error), "error_type": error.slug})
        return json_reply(error.status, body, request_id, error.headers)
    return json_reply(500, orjson.dumps(envelope | _describe(error)), request_id)


def _failure_event(error: BaseException, request_id: str) -> bytes:
    """Return the terminal event of a stream whose agent has raised."""
    fields = {**_describe(error), "status": "error", "metadata": {"request_id": request_id}}
    return sse.encode(orjson.dumps(fields), sse.ERROR_EVENT)


def _describe(error: BaseException) -> dict[str, str]:
    """Return the message and the type of what the agent raised."""
    text = str(error).encode("utf-8", "replace").decode()
    return {"error": text or type(error).__name__, "error_type": type(error).__name__}


def json_reply(status: int, body: bytes, request_id: str, headers: Headers | None = None) -> Reply:
    """Return a JSON answer that carries the request's id."""
    own = [_JSON, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
    return Reply(status, body, own + headers if headers else own)
