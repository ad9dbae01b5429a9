"""The agent's HTTP service: `POST /invocations`, `GET /ping`, `GET /metrics`, `GET /` (seed 001 §3.2). An ASGI application."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from ppio_sandbox.agent_runtime.exceptions import RuntimeError as AgentRuntimeError
from ppio_sandbox.agent_runtime.runtime import agentcore, metrics
from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.exchange import ClientLeftError, Exchange, Watch
from ppio_sandbox.agent_runtime.runtime.handshake import Handshake
from ppio_sandbox.agent_runtime.runtime.health import UNHEALTHY, Health
from ppio_sandbox.agent_runtime.runtime.invocation import Invocation
from ppio_sandbox.agent_runtime.runtime.limiter import RateLimiter
from ppio_sandbox.agent_runtime.runtime.metrics import MetricsCollector
from ppio_sandbox.agent_runtime.runtime.models import RequestContext, RuntimeConfig
from ppio_sandbox.agent_runtime.runtime.replies import Reply, RequestError, StreamReply, closed, json_reply, opened
from ppio_sandbox.agent_runtime.runtime.settings import settled
from sandkit.serving.handlers import PLAIN, Handler, stream_of
from sandkit.serving.threads import Threads
from sandkit.serving.values import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from typing_extensions import TypeIs

    from ppio_sandbox.agent_runtime.runtime.asgi import Application, Receive, Scope, Send

    Read = Callable[[int], Awaitable[bytes]]
    Answer = Reply | StreamReply | Response
    Endpoint = Callable[[Exchange, Read], Awaitable[Answer]]

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_GET = ("GET", "HEAD")


class AgentRuntimeServer:
    """Serves one agent. Set its handlers, then `run()`, or give the object to any ASGI server.

    `config` is what holds: fields that it did not set come from the environment (PPIO_AGENT_HOST, _PORT, _DEBUG, _TIMEOUT).
    """

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self.config = settled(config, os.environ)
        self.metrics = MetricsCollector()
        self.health = Health(lambda: self._threads)
        self._handler: Handler | None = None
        self._websocket: Handler | None = None
        self._watch = Watch()
        self._middlewares: list[Callable[..., Any]] = []
        self._in_progress = 0
        self._routes: dict[str, tuple[tuple[str, ...], Endpoint]] = {
            "/invocations": (("POST",), self._invoke),
            "/ping": (_GET, self._ping),
            "/": (_GET, self._about),
        }
        if self.config.enable_metrics:
            self._routes["/metrics"] = (_GET, self._tell_metrics)
        self._limiter: RateLimiter | None = None
        if self.config.rate_limit is not None:
            self._limiter = RateLimiter(self.config.rate_limit, self.config.rate_limit_window)

    def set_entrypoint_handler(self, func: Callable[..., Any]) -> None:
        """Have `func` answer invocations: plain, async, generator or async generator, `(request)` or `(request, context)`.

        Raises:
            RuntimeError: there is an entrypoint already.
            TypeError: `func` cannot be called with a request.
        """
        if self._handler is not None:
            raise AgentRuntimeError(f"an agent has one entrypoint, and it is {self._handler.name!r}", "two_entrypoints")
        self._handler = Handler(func, RequestContext)

    def set_ping_handler(self, func: Callable[..., Any] | None) -> None:
        """Have `func()` tell the agent's health (a PingStatus, a dict with `status`, or a bool); None: healthy while it runs."""
        self.health.check = func

    def set_websocket_handler(self, func: Callable[..., Any]) -> None:
        """Have async `func(websocket)` or `func(websocket, context)` serve `/ws`, with Starlette's WebSocket.

        Raises:
            TypeError: `func` is not async, or takes no WebSocket.
        """
        handler = Handler(func, RequestContext)
        if not handler.is_async:
            raise TypeError(f"{handler.name} is not async: a WebSocket is served on the event loop")
        self._websocket = handler

    def add_middleware(self, middleware_func: Callable[..., Any]) -> None:
        """Put `async middleware_func(request, call_next) -> Response` around every route; the first one added is outermost."""
        if self.config.enable_middleware:
            self._middlewares.append(middleware_func)

    def run(self, port: int | None = None, host: str | None = None) -> None:
        """Serve until SIGTERM or SIGINT; see `listener.serve` for where.

        Raises:
            RuntimeError: there is no entrypoint.
        """
        if self._handler is None:
            raise _no_entrypoint()
        from ppio_sandbox.agent_runtime.runtime import listener  # noqa: PLC0415 (uvicorn is for those that serve)

        listener.serve(self, self.config, port, host, with_websocket=self._websocket is not None)

    async def handle_invocations(self, request: Request) -> Response:
        """Answer a Starlette request for `/invocations`, whatever becomes of it."""
        return await self._handled(request, self._invoke)

    async def handle_ping(self, request: Request) -> Response:
        """Answer a Starlette request for `/ping`."""
        return await self._handled(request, self._ping)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send)
            if b"origin" in exchange.headers and self.config.cors_origins:
                await self._cross_origin(scope, receive, send)
            else:
                await self._serve(exchange)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._serve(Handshake(scope, receive, send))

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if self._middlewares:
            _ = self._stack  # imports Starlette now, and not while the first request waits
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._threads.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except ClientLeftError:
            logger.debug("the client has left (request %s)", exchange.request_id)
        except asyncio.CancelledError:
            if not exchange.left and not exchange.expired:
                raise
            exchange.relent()
            if _is_cancelled():
                raise  # it was not only our own watch
        finally:
            exchange.relent()
            if exchange.chunks is not None:
                await closed(exchange.chunks)
            self._count(exchange)
            if watchers := exchange.close():
                await asyncio.gather(*watchers, return_exceptions=True)

    def _count(self, exchange: Exchange) -> None:
        """Forget an exchange that is over, but for the figures."""
        self._watch.leave(exchange)
        seconds = exchange.elapsed()
        if exchange.outcome is not None:
            self._in_progress -= 1
            word = "left" if exchange.left else exchange.outcome
            self.metrics.record_request(seconds, word)
            if exchange.expired and self._threads.abandoned:
                logger.warning("%d calls go on in threads, which cannot be stopped", self._threads.abandoned)
        if self.config.debug:
            scope = exchange.scope
            logger.info("%s %s: %s after %.3f s", scope["method"], scope["path"], exchange.outcome or "answered", seconds)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            reply = await (self._stack(exchange) if self._middlewares else self._route(exchange, exchange.body))
        except ClientLeftError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if not exchange.is_failure(error):
                raise
            if exchange.began:
                await exchange.finish(exchange.failed(error))
                return
            reply = exchange.refused(error)
        if isinstance(reply, Reply):
            await exchange.send(reply)
        elif isinstance(reply, StreamReply):
            await exchange.stream(reply)
        else:
            await exchange.forward(reply)

    def _route(self, exchange: Exchange, read: Read) -> Awaitable[Answer]:
        path: str = exchange.scope["path"]
        if isinstance(exchange, Handshake):
            return self._connect(exchange, path)
        method: str = exchange.scope["method"]
        route = self._routes.get(path)
        if route is None:
            raise _not_found(path) if exchange.headers.get(b"upgrade") != b"websocket" else _no_websocket(path)
        allowed, endpoint = route
        if method not in allowed:
            only = ", ".join(allowed)
            headers = [(b"allow", only.encode())]
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", f"{path} takes {only}, not {method}", headers)
        return endpoint(exchange, read)

    async def _connect(self, handshake: Handshake, path: str) -> Reply:
        if self._websocket is None or path != "/ws":
            raise _no_websocket(path)
        from ppio_sandbox.agent_runtime.runtime import websocket  # noqa: PLC0415 (Starlette is for those that use it)

        return await websocket.serve(self._websocket, self._threads, handshake)

    async def _invoke(self, exchange: Exchange, read: Read) -> Answer:
        exchange.outcome = "success"
        self._in_progress += 1
        late = None
        try:
            reply = await self._invoked(exchange, read)
            if not exchange.expired:
                return reply
        except ClientLeftError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if not exchange.is_failure(error):
                raise
            late = exchange.noted(error)
            if late is error:
                raise
        raise late or exchange.noted(None) from None

    async def _invoked(self, exchange: Exchange, read: Read) -> Answer:
        if self._handler is None:
            raise _no_entrypoint()
        if self._limiter is not None:
            admit(self._limiter, exchange)
        config = self.config
        invocation = Invocation(exchange, await read(config.max_request_size))
        AgentRuntimeContext.defer(invocation.context)
        if config.debug and isinstance(invocation.action, str):
            return await agentcore.act(invocation.action, self.health, exchange.request_id)
        exchange.limit(invocation.limit(config.timeout))
        self._watch.over(exchange)
        result = await self._handler(invocation.request, invocation.context, self._threads)
        wish = invocation.stream
        if isinstance(result, PLAIN) and not wish:
            return exchange.dialect.success(result, exchange.elapsed(), exchange.request_id)
        return await self._replied(exchange, result, wish)

    async def _replied(self, exchange: Exchange, result: Any, wish: bool | None) -> Answer:
        """Return the answer that `result` becomes, as a stream or whole, by its type or by the caller's `wish`."""
        chunks = stream_of(result, self._threads)
        if chunks is None:
            if is_response(result):
                result.headers.setdefault("x-request-id", exchange.request_id)
                return result
            if isinstance(result, Iterator):
                result = await self._threads.call(list, result)  # its code may block
            if not wish:
                return exchange.dialect.success(result, exchange.elapsed(), exchange.request_id)
            chunks = _single(result)
        exchange.chunks = chunks
        if wish is False:
            result = await _collected(chunks)
            return exchange.dialect.success(result, exchange.elapsed(), exchange.request_id)
        if exchange.dialect is not agentcore.DIALECT:  # whose callers may not know comments
            exchange.beat(self.config.heartbeat, early=not self._middlewares)
        reply = await opened(chunks, exchange)
        exchange.chunks = reply.rest
        return reply

    async def _ping(self, exchange: Exchange, _read: Read) -> Reply:
        report = await self.health.report()
        return json_reply(503 if report["status"] == UNHEALTHY else 200, to_json(report), exchange.request_id)

    async def _about(self, exchange: Exchange, _read: Read) -> Reply:
        handler = self._handler
        about = {
            "service": "ppio-agent-runtime",
            "entrypoint": handler.name if handler else None,
            "streams": bool(handler and handler.streams),
            "endpoints": {"invoke": "POST /invocations", "ping": "GET /ping"},
        }
        return json_reply(200, orjson.dumps(about), exchange.request_id)

    async def _tell_metrics(self, exchange: Exchange, _read: Read) -> Reply:
        gauges: dict[str, tuple[str, float]] = {
            "agent_invocations_in_progress": ("Invocations that are being answered.", self._in_progress),
            "agent_threads_abandoned": ("Calls that go on in threads though nobody waits for them.", self._threads.abandoned),
            "agent_background_tasks": ("Tracked background work.", self.health.tasks.info()["active_count"]),
        }
        body = self.metrics.text(gauges)
        headers = [(b"content-type", metrics.MEDIA_TYPE), (b"content-length", b"%d" % len(body))]
        return Reply(200, body, [*headers, (b"x-request-id", exchange.request_id.encode())])

    async def _handled(self, request: Request, endpoint: Endpoint) -> Response:
        """Answer a request that somebody else's routes have brought: a client that leaves is theirs to notice."""
        from ppio_sandbox.agent_runtime.runtime import middleware  # noqa: PLC0415 (Starlette is for those that use it)

        exchange = middleware.exchange_of(request)
        try:
            return await middleware.respond(request, endpoint, exchange)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (it is answered)
            return middleware.response(exchange.refused(error), exchange)
        finally:
            exchange.relent()
            self._count(exchange)
            exchange.close()

    @cached_property
    def _stack(self) -> Callable[[Exchange], Awaitable[Response]]:
        from ppio_sandbox.agent_runtime.runtime import middleware  # noqa: PLC0415 (Starlette is for those that use it)

        return middleware.stacked(self._middlewares, self._route, self.config.max_request_size)

    @cached_property
    def _cross_origin(self) -> Application:
        """Ourselves behind the checks for browsers; requests without an Origin do not pay for them."""
        from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 (Starlette is for those that use it)

        async def same_origin(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(Exchange(scope, receive, send))

        origins = self.config.cors_origins
        return CORSMiddleware(same_origin, origins, ("GET", "POST"), ("*",), expose_headers=("x-request-id",))

    @cached_property
    def _threads(self) -> Threads:
        return Threads()


def admit(limiter: RateLimiter, exchange: Exchange) -> None:
    """Count the request of an exchange for its session, or for its address where it has none.

    Raises:
        RequestError: there were too many; it says when to come back.
    """
    peer: tuple[str, int] | None = exchange.scope.get("client")
    caller = exchange.headers.get(b"x-sandbox-id") or exchange.headers.get(agentcore.SESSION_HEADER)
    seconds = limiter.admit(caller.decode("latin-1") if caller else peer[0] if peer else "")
    if seconds > 0:
        headers = [(b"retry-after", b"%d" % math.ceil(seconds))]
        raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", f"too many requests; come back in {seconds:.1f} s", headers)


def is_response(value: Any) -> TypeIs[Response]:
    """Tell whether `value` is a Starlette response; an agent that returns one has imported Starlette."""
    starlette = sys.modules.get("starlette.responses")
    return starlette is not None and isinstance(value, starlette.Response)


def _not_found(path: str) -> RequestError:
    return RequestError(HTTPStatus.NOT_FOUND, "not_found", f"there is no {path}; an agent has POST /invocations and GET /ping")


def _no_websocket(path: str) -> RequestError:
    return RequestError(HTTPStatus.FORBIDDEN, "no_websocket", f"this agent has no WebSocket at {path}")


def _no_entrypoint() -> AgentRuntimeError:
    return AgentRuntimeError("the agent has no entrypoint: decorate a function with @app.entrypoint", "no_entrypoint")


def _is_cancelled() -> bool:
    """Tell whether somebody has cancelled this task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _single(value: Any) -> AsyncIterator[Any]:
    yield value


async def _collected(chunks: AsyncIterator[Any]) -> Any:
    """Return one text where all chunks are text, else the list of them."""
    values = [chunk async for chunk in chunks]
    return "".join(values) if values and all(isinstance(value, str) for value in values) else values
