"""The agent's HTTP service: `POST /invocations`, `GET /ping`, `GET /` (seed 001 §3.2). An ASGI application."""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from ppio_sandbox.agent_runtime.exceptions import RuntimeError as AgentRuntimeError
from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext
from ppio_sandbox.agent_runtime.runtime.exchange import ClientLeftError, Exchange, Watch
from ppio_sandbox.agent_runtime.runtime.health import UNHEALTHY, Health
from ppio_sandbox.agent_runtime.runtime.invocation import Invocation
from ppio_sandbox.agent_runtime.runtime.models import RequestContext, RuntimeConfig
from ppio_sandbox.agent_runtime.runtime.replies import Reply, RequestError, StreamReply, closed, failure, json_reply, opened, success
from sandkit.serving.handlers import Handler, stream_of
from sandkit.serving.threads import Threads
from sandkit.serving.values import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from ppio_sandbox.agent_runtime.runtime.asgi import Receive, Scope, Send

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_METHODS = {"/invocations": ("POST",), "/ping": ("GET", "HEAD"), "/": ("GET", "HEAD")}


class AgentRuntimeServer:
    """Serves one agent. Set its handlers, then `run()`, or give the object to any ASGI server."""

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self.config = config or RuntimeConfig()
        self._handler: Handler | None = None
        self._health = Health()
        self._watch = Watch()
        self._middlewares: list[Callable[..., Any]] = []

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
        self._health.check = func

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

        listener.serve(self, self.config, port, host)

    async def handle_invocations(self, request: Request) -> Response:
        """Answer a Starlette request for `/invocations`. What the agent raises is raised."""
        return await self._handled(request, self._invoke)

    async def handle_ping(self, request: Request) -> Response:
        """Answer a Starlette request for `/ping`."""
        return await self._handled(request, self._ping)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "this agent has no WebSocket"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
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
            task = asyncio.current_task()
            if not exchange.left or task is None:
                raise
            task.uncancel()  # it was our own watch; the work has ended and there is nobody to tell
        finally:
            self._watch.leave(exchange)
            if exchange.chunks is not None:
                await closed(exchange.chunks)
            if (watcher := exchange.close()) is not None:
                await asyncio.wait((watcher,))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            reply = await (self._stack(exchange) if self._middlewares else self._route(exchange, exchange.body))
        except ClientLeftError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if not isinstance(error, RequestError):
                logger.exception("the agent failed (request %s)", exchange.request_id)
            reply = failure(error, exchange.elapsed(), exchange.request_id)
        if isinstance(reply, Reply):
            await exchange.send(reply)
        elif isinstance(reply, StreamReply):
            await exchange.stream(reply)
        else:
            await exchange.forward(reply)

    def _route(self, exchange: Exchange, read: Callable[[int], Awaitable[bytes]]) -> Awaitable[Reply | StreamReply]:
        path: str = exchange.scope["path"]
        method: str = exchange.scope["method"]
        allowed = _METHODS.get(path)
        if allowed is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "not_found", f"there is no {path}; an agent has POST /invocations and GET /ping")
        if method not in allowed:
            only = ", ".join(allowed)
            headers = [(b"allow", only.encode())]
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", f"{path} takes {only}, not {method}", headers)
        if path == "/invocations":
            return self._invoke(exchange, read)
        return self._ping(exchange, read) if path == "/ping" else self._about(exchange, read)

    async def _invoke(self, exchange: Exchange, read: Callable[[int], Awaitable[bytes]]) -> Reply | StreamReply:
        if self._handler is None:
            raise _no_entrypoint()
        invocation = Invocation(exchange, await read(self.config.max_request_size))
        AgentRuntimeContext.defer(invocation.context)
        self._watch.over(exchange)
        result = await self._handler(invocation.request, invocation.context, self._threads)
        chunks = stream_of(result, self._threads)
        wish = invocation.stream
        if chunks is None and wish:
            chunks = _single(result)
        if chunks is not None:
            exchange.chunks = chunks
            if wish is not False:
                reply = await opened(chunks, exchange.request_id)
                exchange.chunks = reply.rest
                return reply
            result = await _collected(chunks)
        return success(result, exchange.elapsed(), exchange.request_id)

    async def _ping(self, exchange: Exchange, _read: object) -> Reply:
        report = await self._health.report(self._threads)
        return json_reply(503 if report["status"] == UNHEALTHY else 200, to_json(report), exchange.request_id)

    async def _about(self, exchange: Exchange, _read: object) -> Reply:
        handler = self._handler
        about = {
            "service": "ppio-agent-runtime",
            "entrypoint": handler.name if handler else None,
            "streams": bool(handler and handler.streams),
            "endpoints": {"invoke": "POST /invocations", "ping": "GET /ping"},
        }
        return json_reply(200, orjson.dumps(about), exchange.request_id)

    async def _handled(self, request: Request, endpoint: Callable[..., Awaitable[Reply | StreamReply]]) -> Response:
        from ppio_sandbox.agent_runtime.runtime import middleware  # noqa: PLC0415 (Starlette is for those that use it)

        return await middleware.respond(request, endpoint)

    @cached_property
    def _stack(self) -> Callable[[Exchange], Awaitable[Response]]:
        from ppio_sandbox.agent_runtime.runtime import middleware  # noqa: PLC0415 (Starlette is for those that use it)

        return middleware.stacked(self._middlewares, self._route, self.config.max_request_size)

    @cached_property
    def _threads(self) -> Threads:
        return Threads()


def _no_entrypoint() -> AgentRuntimeError:
    return AgentRuntimeError("the agent has no entrypoint: decorate a function with @app.entrypoint", "no_entrypoint")


def _is_cancelled() -> bool:
    """Tell whether somebody has cancelled this task; an agent may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _single(value: Any) -> AsyncIterator[Any]:
    yield value


async def _collected(chunks: AsyncIterator[Any]) -> Any:
    """Return one text where all chunks are text, else the list of them."""
    values = [chunk async for chunk in chunks]
    return "".join(values) if values and all(isinstance(value, str) for value in values) else values
