"""One request and its answer: reading the body, sending the reply, and noticing a client that leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.runtime.replies import too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ppio_sandbox.agent_runtime.runtime.asgi import Application, Receive, Scope, Send
    from ppio_sandbox.agent_runtime.runtime.replies import Reply, StreamReply

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


_YOUTH_SECONDS = 0.002
_LINGER_SECONDS = 2.0


class ClientLeftError(Exception):
    """The client has closed the connection; nobody reads an answer."""


class Exchange:
    """A request (`scope`, its body) and where its answer goes. Times are in seconds."""

    __slots__ = ("_done", "_send", "_watcher", "chunks", "left", "overlong", "receive", "request_id", "scope", "started", "task")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.request_id = _request_id(scope)
        self.left = False
        self.chunks: AsyncIterator[Any] | None = None
        """What the agent streams; it is closed with the exchange, whether or not it was sent to its end."""
        self.overlong = False
        """The body was not read to its end."""
        self.receive = receive
        self._send = send
        self._done = False
        self.task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

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
        parts: list[bytes] = []
        size = len(body)
        while message.get("more_body", False) and size <= limit:
            parts.append(body)
            message = await self.receive()
            body = message.get("body", b"")
            size += len(body)
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        if size > limit:
            self.overlong = True
            raise too_large(limit)
        return b"".join((*parts, body)) if parts else body

    async def send(self, reply: Reply) -> None:
        """Send a whole answer."""
        await self._send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        body = b"" if self.scope["method"] == "HEAD" else reply.body
        if self.overlong:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._linger()
            body = b""
        await self._send({"type": "http.response.body", "body": body})
        self._done = True

    async def _linger(self) -> None:
        """Drop what still comes, for a while: closing on unread bytes would reset the connection, and the answer be lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self.receive()).get("more_body", False):
                    pass

    async def stream(self, reply: StreamReply) -> None:
        """Send each frame before the next one is asked for."""
        send = self._send
        await send({"type": "http.response.start", "status": 200, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.first, "more_body": True})
        async for frame in reply.rest:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body"})
        self._done = True

    async def forward(self, application: Application) -> None:
        """Have `application` send the answer."""
        await application(self.scope, self.receive, self._send)
        self._done = True

    def watch(self) -> None:
        """From now on a client that leaves cancels the task, unless the exchange is done. The body must have been read."""
        if not self._done:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> asyncio.Task[None] | None:
        """End the watch, and return the task that is still to end, if there is one."""
        self._done = True
        self.task = None  # it holds the context, that the invocation, that this: no cycle is left to the collector
        if self._watcher is not None:
            self._watcher.cancel()
        return self._watcher

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if not self._done and self.task is not None:  # servers also say "disconnect" once the answer is complete
            self.left = True
            self.task.cancel()


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


def _request_id(scope: Scope) -> str:
    """Return the caller's request id, if it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return value.decode()
    return os.urandom(16).hex()  # not from a generator in memory: agents are also forked
