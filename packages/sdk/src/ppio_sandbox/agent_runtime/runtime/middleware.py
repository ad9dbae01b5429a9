"""Middlewares around the routes: `async (request, call_next) -> Response` with Starlette's types (seed 001 §3.1).

A response is a value until the outermost middleware has returned it, and only then sent: a stream stays a stream, an exception
of the agent passes through as that exception, and a client that leaves cancels all of it. (Starlette's BaseHTTPMiddleware runs
the inside as a second task, which breaks all three.) Around a WebSocket they see its handshake, and return when it is over.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ppio_sandbox.agent_runtime.runtime.exchange import ClientLeftError, Exchange
from ppio_sandbox.agent_runtime.runtime.replies import Reply, RequestError, StreamReply, too_large
from sandkit.serving.handlers import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ppio_sandbox.agent_runtime.runtime.asgi import Message, Receive, Scope, Send

    Read = Callable[[int], Awaitable[bytes]]
    Endpoint = Callable[[Exchange, Read], Awaitable[Reply | StreamReply | Response]]
    Next = Callable[[Request], Awaitable[Response]]

_EXCHANGE = "ppio.exchange"


def stacked(functions: Sequence[Callable[..., Any]], route: Endpoint, limit: int) -> Callable[[Exchange], Awaitable[Response]]:
    """Return the call of `functions`, the first one outermost, around `route`; bodies have at most `limit` bytes."""
    call: Next = partial(respond, endpoint=route)
    for function in reversed(functions):
        call = partial(_call, function, call)

    async def run(exchange: Exchange) -> Response:
        exchange.scope[_EXCHANGE] = exchange
        try:
            return await call(_Request(exchange, limit))
        except ClientDisconnect:
            raise ClientLeftError from None

    return run


async def respond(request: Request, endpoint: Endpoint, exchange: Exchange | None = None) -> Response:
    """Answer a Starlette request of `exchange`, which is that of the middlewares unless told.

    What the agent raises is raised; what is wrong with the request, or was too late, is an answer as any other.
    """
    exchange = exchange or exchange_of(request)

    async def read(limit: int) -> bytes:
        body = await request.body()
        if len(body) > limit:
            raise too_large(limit)
        return body

    try:
        reply = await endpoint(exchange, read)
    except RequestError as error:
        reply = exchange.refused(error)
    return response(reply, exchange)


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that `request` belongs to, or a new one if it has come through somebody's own routes."""
    exchange = request.scope.get(_EXCHANGE)
    return exchange if isinstance(exchange, Exchange) else Exchange(request.scope, request.receive, None)


async def _call(function: Callable[..., Any], call_next: Next, request: Request) -> Response:
    result = await function(request, call_next)
    if result is None:
        raise TypeError(f"the middleware {name_of(function)} returned nothing; it must return what call_next gave, or an answer of its own")
    return result if isinstance(result, Response) else JSONResponse(result)


def _limited(exchange: Exchange, limit: int) -> Receive:
    """Stop reading a body that is too large, whoever reads it."""
    size = 0

    async def read() -> Message:
        nonlocal size
        message = await exchange.receive()
        size += len(message.get("body", b""))
        if size > limit:
            exchange.overlong = True
            raise too_large(limit)
        return message

    return read


class _Request(Request):
    """Starlette's request; a body that nobody streams is read without its generators."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        super().__init__(exchange.scope, _limited(exchange, limit))
        self._read = partial(exchange.body, limit)

    async def body(self) -> bytes:
        if not hasattr(self, "_body") and not self._stream_consumed:
            self._body = await self._read()
        return await super().body()


class _Whole(Response):
    """A whole answer, whose body and headers are made already: Starlette would make them once more."""

    def __init__(self, reply: Reply) -> None:
        self.status_code = reply.status
        self.background = None
        self.body = reply.body
        self.raw_headers = list(reply.headers)


class _EventStream(StreamingResponse):
    """Sends frames as they come. The exchange watches the client already, so no second watcher is started."""

    def __init__(self, reply: StreamReply, exchange: Exchange) -> None:
        super().__init__(_all_frames(reply))
        self.raw_headers = list(reply.headers)
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the face of ASGI)
        is_plain = "content-encoding" not in self.headers

        async def tell(message: Message) -> None:
            self._exchange.between = is_plain and message.get("body", b"").endswith(b"\n\n")
            await send(message)

        await self.stream_response(tell)


def response(reply: Reply | StreamReply | Response, exchange: Exchange) -> Response:
    """Return `reply` as a Starlette response; one that is a response already keeps all that it has."""
    if isinstance(reply, Response):
        return reply
    return _Whole(reply) if isinstance(reply, Reply) else _EventStream(reply, exchange)


async def _all_frames(reply: StreamReply) -> AsyncIterator[bytes]:
    try:
        yield reply.first
        async for frame in reply.rest:
            yield frame
    finally:
        await reply.rest.aclose()
