"""One request and its answer: reading the body, sending the reply, and noticing a client that leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.runtime import agentcore
from ppio_sandbox.agent_runtime.runtime.replies import ENVELOPES, SSE_HEADERS, RequestError, too_large
from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ppio_sandbox.agent_runtime.runtime.asgi import Application, Message, Receive, Scope, Send
    from ppio_sandbox.agent_runtime.runtime.replies import Headers, Reply, StreamReply

logger = logging.getLogger("ppio_sandbox.agent_runtime")

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_YOUTH_SECONDS = 0.002
_LINGER_SECONDS = 2.0
END_SECONDS = 5.0
"""So long cancelled code may take to end; then it is cancelled again."""


class ClientLeftError(Exception):
    """The client has closed the connection; nobody reads an answer."""


class Exchange:
    """A request (`scope`, its body) and where its answer goes. Times are in seconds."""

    outcome: str | None = None
    """How an invocation ends, in a word; None: it is no invocation."""
    left = False
    expired = False
    chunks: AsyncIterator[Any] | None = None
    """What the agent streams; it is closed with the exchange, whether or not it was sent to its end."""
    overlong = False
    """The body was not read to its end."""
    began = False
    """The head of a stream is sent."""
    between = False
    """What was sent so far ends with a whole event: a comment may follow."""
    _done = False
    _cancels = 0
    _limit = 0.0
    _silence = 0.0
    _early = False
    _alarm: asyncio.TimerHandle | None = None
    _watchers: Sequence[asyncio.Task[None]] = ()

    def __init__(self, scope: Scope, receive: Receive, send: Send | None) -> None:
        """Begin an exchange; without `send` its answer is somebody else's to send, and so is the watch over the connection."""
        self.scope = scope
        self.started = self.touched = time.perf_counter()
        """`touched` is when the last frame of a stream was sent."""
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.dialect = agentcore.DIALECT if agentcore.SESSION_HEADER in self.headers else ENVELOPES
        self.request_id = _request_id(self.headers)
        self.receive = receive
        self._send: Send = send or _nowhere
        self._own = send is not None
        self.task = asyncio.current_task()

    def elapsed(self) -> float:
        """Seconds since the request came."""
        return time.perf_counter() - self.started

    async def body(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            RequestError: it has more than `limit` bytes; the rest is not read.
            ClientLeftError: the client has left.
        """
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            message, body = await self._rest(message, body, limit)
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        if len(body) > limit:
            self.overlong = message.get("more_body", False)
            raise too_large(limit)
        return body

    async def _rest(self, message: Message, body: bytes, limit: int) -> tuple[Message, bytes]:
        """Read on until the end, or until there is more than `limit`; return the last message and all that came."""
        parts = [body]
        size = len(body)
        while size <= limit and message.get("more_body", False):
            message = await self.receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        return message, b"".join(parts)

    async def send(self, reply: Reply) -> None:
        """Send a whole answer."""
        send = self._linger if self.overlong else self._send
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else reply.body})
        self._done = True

    async def _linger(self, message: Message) -> None:
        """Send a message. Before the answer ends, drop what still comes, for a while: closing on unread bytes would lose the answer."""
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self.receive()).get("more_body", False):
                    pass
        await self._send({"type": "http.response.body", "body": b""})

    async def stream(self, reply: StreamReply) -> None:
        """Send each frame before the next one is asked for."""
        send = self._send
        await self._begin(reply.headers)
        await send({"type": "http.response.body", "body": reply.first, "more_body": True})
        self.between = True
        async for frame in reply.rest:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await self._end()

    async def finish(self, frame: bytes) -> None:
        """Send the last frame of a stream that has begun."""
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        await self._end()

    async def _begin(self, headers: Headers) -> None:
        if not self.began:
            self.began = True
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _end(self) -> None:
        self.between = False
        await self._send({"type": "http.response.body"})
        self._done = True

    async def forward(self, application: Application) -> None:
        """Have `application` send the answer."""
        await application(self.scope, self.receive, self._linger if self.overlong else self._send)
        self._done = True

    def limit(self, seconds: float) -> None:
        """Have the work cancelled when the exchange is `seconds` old; 0 or less: never."""
        self._limit = seconds

    def beat(self, seconds: float, early: bool) -> None:
        """From now on send a comment after `seconds` of silence; `early`: also if no head is sent yet, which is then sent first."""
        self._silence = seconds
        self._early = early
        if self._watchers:
            self._watchers = (*self._watchers, asyncio.get_running_loop().create_task(self._beat()))

    def watch(self) -> None:
        """From now on a client that leaves cancels the task, and so does the limit. The body must have been read."""
        if self._done:
            return
        loop = asyncio.get_running_loop()
        if self._limit > 0:
            self._alarm = loop.call_later(max(0.0, self._limit - self.elapsed()), self._expire)
        if self._own:
            works = (self._watch(), self._beat()) if self._silence else (self._watch(),)
            self._watchers = [loop.create_task(work) for work in works]

    def close(self) -> Sequence[asyncio.Task[None]]:
        """End the watch, and return the tasks that are still to end."""
        self._done = True
        self.task = None  # it holds the context, that the invocation, that this: no cycle is left to the collector
        for watcher in self._watchers:
            watcher.cancel()
        return self._watchers

    def is_failure(self, error: BaseException) -> bool:
        """Tell whether `error` is to be answered. A cancellation is, if the limit has caused it or the agent raised it by itself."""
        if not isinstance(error, asyncio.CancelledError) or self.expired:
            return True
        return self.task is None or self.task.cancelling() == 0

    def refused(self, error: BaseException) -> Reply:
        """Note and log a failure, and return the answer that tells it."""
        error = self.noted(error)
        self.log(error)
        return self.dialect.failure(error, self.elapsed(), self.request_id)

    def failed(self, error: BaseException) -> bytes:
        """Note and log a failure, and return the event that ends a stream with it."""
        error = self.noted(error)
        self.log(error)
        return self.dialect.failure_event(error, self.request_id)

    def noted(self, error: BaseException | None) -> BaseException:
        """Note the failure and return it: as what it is, or as the limit's end if that has caused it."""
        if error is None or (self.expired and not isinstance(error, RequestError)):
            self.relent()
            error = RequestError(HTTPStatus.GATEWAY_TIMEOUT, "agent_timeout", f"the agent did not answer within {self._limit:g} s")
        if self.outcome is not None:
            self.outcome = _outcome(error)
        return error

    def log(self, error: BaseException) -> None:
        """Write what the agent raised to the log; the caller's faults are told to the caller only."""
        if not isinstance(error, RequestError):
            logger.error("the agent failed (request %s)", self.request_id, exc_info=error)
        elif error.slug == "agent_timeout":
            logger.warning("%s (request %s)", error, self.request_id)

    def relent(self) -> None:
        """Take our own cancellations back: what they were for has happened, or is not wanted any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._cancels and self.task is not None:
            self.task.uncancel()
            self._cancels -= 1

    def _expire(self) -> None:
        self.expired = True
        self._stop()

    def _stop(self) -> None:
        """Cancel the work, and again if it does not end; servers also say "disconnect" once the answer is complete."""
        if self._done or self.task is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        if self._cancels:
            logger.warning("the agent's code did not end within %g s, and is cancelled again (request %s)", END_SECONDS, self.request_id)
        self._cancels += 1
        self.task.cancel()
        self._alarm = asyncio.get_running_loop().call_later(END_SECONDS, self._stop)

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if not self._done:
            self.left = True
            self._stop()

    async def _beat(self) -> None:
        while True:
            wait = self._silence - (time.perf_counter() - self.touched)
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            self.touched = time.perf_counter()
            if self._early and not self.began:
                await self._begin([*SSE_HEADERS, (b"x-request-id", self.request_id.encode())])
                self.between = True
            if self.between:
                await self._send({"type": "http.response.body", "body": sse.HEARTBEAT, "more_body": True})


def _outcome(error: BaseException) -> str:
    """Return the word under which `error` is counted."""
    if not isinstance(error, RequestError):
        return "error"
    return "timeout" if error.status == HTTPStatus.GATEWAY_TIMEOUT else "refused"


async def _nowhere(_message: Message) -> None:
    """Drop what an exchange without a connection would send: its answer is a value."""


class Watch:
    """Starts the watchers of exchanges, late and together: most requests are done before a watcher would be of any use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._young: set[Exchange] = set()

    def over(self, exchange: Exchange) -> None:
        """Watch over `exchange`, whose body has been read, if it is not done within `_YOUTH_SECONDS`."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # no timer runs
            self._loop = loop
            loop.call_later(_YOUTH_SECONDS, self._start)
        self._young.add(exchange)

    def leave(self, exchange: Exchange) -> None:
        """Forget `exchange`, which is done."""
        self._young.discard(exchange)

    def _start(self) -> None:
        self._loop = None
        while self._young:
            self._young.pop().watch()


def _request_id(headers: dict[bytes, bytes]) -> str:
    """Return the caller's request id, if it is a sane one, else a new one."""
    told = headers.get(b"x-request-id") or headers.get(agentcore.REQUEST_HEADER)
    if told is not None and _SANE_ID.fullmatch(told):
        return told.decode()
    return os.urandom(16).hex()  # not from a generator in memory: agents are also forked
