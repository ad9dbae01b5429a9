"""One request and its answer: reading the body, sending the reply, and noticing a client that leaves."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.runtime.replies import too_large

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.runtime.asgi import Application, Receive, Scope, Send
    from ppio_sandbox.agent_runtime.runtime.replies import Reply, StreamReply

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class ClientLeftError(Exception):
    """The client has closed the connection; nobody reads an answer."""


class Exchange:
    """A request (`scope`, its body) and where its answer goes. Times are in seconds."""

    __slots__ = ("_done", "_handle", "_send", "_task", "_watcher", "left", "receive", "request_id", "scope", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.request_id = _request_id(scope)
        self.left = False
        self.receive = receive
        self._send = send
        self._done = False
        self._task: asyncio.Task[Any] | None = None
        self._handle: asyncio.Handle | None = None
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
            raise too_large(limit)
        return b"".join((*parts, body)) if parts else body

    def watch(self) -> None:
        """From now on a client that leaves cancels this task. The body must have been read."""
        self._task = asyncio.current_task()
        # The watcher costs a task; work that never waits is done before it would start.
        self._handle = asyncio.get_running_loop().call_soon(self._start_watcher)

    async def send(self, reply: Reply) -> None:
        """Send a whole answer."""
        await self._send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await self._send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else reply.body})
        self._done = True

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

    async def close(self) -> None:
        """End the watch."""
        self._done = True
        if self._handle is not None:
            self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))

    def _start_watcher(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if not self._done and self._task is not None:  # servers also say "disconnect" once the answer is complete
            self.left = True
            self._task.cancel()


def _request_id(scope: Scope) -> str:
    """Return the caller's request id, if it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(16)
