"""The agent's server with two more routes. An ASGI application."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import orjson

from agentapp.errors import AppError, NotInitializedError
from agentapp.service.dialect import MESSAGES
from agentapp.serving.faults import refusal
from agentapp.serving.inbound import read_invocation, read_invoke
from agentapp.serving.turns import Turns, finished
from ppio_sandbox.agent_runtime.runtime.invocation import Invocation
from ppio_sandbox.agent_runtime.runtime.replies import json_reply
from ppio_sandbox.agent_runtime.runtime.server import AgentRuntimeServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping

    from agentapp.running import Running, Runtime
    from agentapp.serving.inbound import Inbound
    from agentapp.serving.outbound import Message
    from ppio_sandbox.agent_runtime.runtime.asgi import Receive, Send
    from ppio_sandbox.agent_runtime.runtime.exchange import Exchange
    from ppio_sandbox.agent_runtime.runtime.models import RequestContext, RuntimeConfig
    from ppio_sandbox.agent_runtime.runtime.replies import Reply
    from ppio_sandbox.agent_runtime.runtime.server import Answer, Read

FINISH_SECONDS = 10.0
"""So long answers whose client has left may go on after SIGTERM, with `on_disconnect: finish`."""
_JSON = b"application/json"
_STREAM = b"text/event-stream"


class AppServer(AgentRuntimeServer):
    """Serves what `runtime` runs. `start` initializes it when the server does; `redacted` takes secrets out of texts.

    `POST /invoke` and `GET /health` are of seed 003; `/invocations`, `/ping` and `/metrics` are those of every agent.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        runtime: Runtime,
        start: Callable[[], Awaitable[None]],
        *,
        make_message: Callable[[Inbound], Any],
        redacted: Callable[[str], str],
        instance_id: str,
    ) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._start = start
        self._make_message = make_message
        self._redacted = redacted
        self._turns: Turns | None = None
        self._instance_id = instance_id
        self._began = time.monotonic()
        self._routes |= {"/invoke": (("POST",), self._invoke), "/health": (("GET", "HEAD"), self._health)}
        self.set_entrypoint_handler(self._prompted)
        self.set_ping_handler(lambda: runtime.is_initialized)

    @property
    def figures(self) -> dict[str, int]:
        """What heartbeats tell: messages that are being answered, and how many there were."""
        turns = self._turns
        return {"active_sessions": turns.active if turns else 0, "total_requests": turns.total if turns else 0}

    @property
    def _fetching(self) -> str:
        """The provider whose library would fetch addresses that callers send."""
        return self._runtime.config.fetching if self._runtime.is_initialized else ""

    async def _live(self, receive: Receive, send: Send) -> None:
        try:
            await self._start()
        except Exception as error:  # noqa: BLE001 (whatever the app raised ends the start, in words)
            words = str(error) if isinstance(error, AppError) else f"{type(error).__name__}: {error}"
            await receive()
            await send({"type": "lifespan.startup.failed", "message": self._redacted(words)})
            return

        async def until_all_is_done() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._wound_up()  # now: whoever serves us waits no longer once we have said that we are through
            return message

        try:
            await super()._live(until_all_is_done, send)
        finally:
            await self._runtime.shutdown()

    async def _wound_up(self) -> None:
        if self._turns is not None:
            await self._turns.rest(FINISH_SECONDS)
        await self._runtime.shutdown()

    def _route(self, exchange: Exchange, read: Read) -> Awaitable[Answer]:
        if exchange.scope["path"] in ("/invoke", "/health"):
            exchange.dialect = cast("Any", MESSAGES)
        return super()._route(exchange, read)

    async def _invoked(self, exchange: Exchange, read: Read) -> Answer:
        if exchange.scope["path"] != "/invoke":
            return await super()._invoked(exchange, read)
        body = Invocation(exchange, await read(self.config.max_request_size)).request
        exchange.limit(self.config.timeout)
        self._watch.over(exchange)
        try:
            inbound = read_invoke(body, exchange.request_id, self._fetching)
        except AppError as error:
            raise refusal(error, self._redacted) from None
        accept = exchange.headers.get(b"accept", b"")
        return await self._replied(exchange, self._answered(inbound), not (_JSON in accept and _STREAM not in accept))

    async def _prompted(self, request: Any, context: RequestContext) -> Any:
        """Answer `/invocations`: pieces of text, as other agents' answers are; what is no text goes out as a message."""
        session = context.session_id or (context.request_id or "")  # without a session each call has its own
        try:
            inbound = read_invocation(request, session, context.request_id or "", self._fetching)
        except AppError as error:
            raise refusal(error, self._redacted) from None
        return _texts(self._answered(inbound))

    def _answered(self, inbound: Inbound) -> AsyncGenerator[Message]:
        try:
            running: Running = self._runtime.running
        except NotInitializedError as error:
            raise refusal(error, self._redacted) from None
        if self._turns is None:
            self._turns = Turns(running.instances, running.session, self._threads, make_message=self._make_message, redacted=self._redacted)
        answer = self._turns.answer(inbound)
        return answer if running.config.server.on_disconnect == "cancel" else finished(answer, running.tasks)

    async def _health(self, exchange: Exchange, _read: Read) -> Reply:
        healthy = self._runtime.is_initialized
        body = {
            "status": "healthy" if healthy else "unhealthy",
            "instance_id": self._instance_id,
            "uptime": round(time.monotonic() - self._began, 3),
        }
        return json_reply(200 if healthy else 503, orjson.dumps(body), exchange.request_id)


async def _texts(messages: AsyncGenerator[Message]) -> AsyncGenerator[Any]:
    """Yield the texts of an answer; what is more than text goes out as the message that it is."""
    try:
        async for message in messages:
            if message["metadata"].get("done"):
                continue
            plain = isinstance(message["content"], str) and not message["metadata"].keys() - {"chunk", "message_id"}
            yield message["content"] if plain else message
    finally:
        await messages.aclose()
