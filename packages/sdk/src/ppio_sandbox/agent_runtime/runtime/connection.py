"""HTTP/1.1 under uvicorn, with fewer system calls: a whole answer is one write, and so are the chunks of one turn of the loop.

uvicorn's own cycle writes a head, a body and each chunk by themselves; a call into the kernel costs more than all else that is
done for them. uvicorn keeps the parsing, pipelining, upgrades and shutdown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppio_sandbox.agent_runtime.runtime.asgi import Application, Message, Scope

logger = logging.getLogger("uvicorn.error")

_ALLOWED = bytes({9, *range(32, 256)} - {127})
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Connection(HttpToolsProtocol):
    """One client's connection, and its requests one after the other."""

    idle_since: float | None = None
    """When the last answer was complete, on the loop's clock; None: one is being given."""

    if TYPE_CHECKING:  # what uvicorn types by its own kinds
        scope: Any
        cycle: Any
        app: Any
        parser: Any

    def on_headers_complete(self) -> None:
        """Begin to answer, or queue behind the request that is being answered."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        if parser.should_upgrade() and self._should_upgrade():
            return
        path, raw_path, scope["query_string"] = _located(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        before = self.cycle
        self.cycle = Cycle(self, scope, keep_alive=version != "1.0" and parser.should_keep_alive())
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(cycle.task)

    def on_response_complete(self) -> None:
        """Take up the next request, or wait for one: an idle connection has one timer, which looks when it was used last."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Go on with the request."""
        self.idle_since = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            super()._unset_keepalive_if_required()
            if self._should_upgrade():
                self.handle_websocket_upgrade()  # all other upgrades are ordinary requests
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for long enough, or look again when it may be."""
        self.timeout_keep_alive_task = None
        if self.idle_since is None or self.transport.is_closing():
            return
        left = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request at hand."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()


@lru_cache(maxsize=16)
def _located(target: bytes) -> tuple[str, bytes, bytes]:
    """Return path, raw path and query of a request's target; agents have few."""
    parsed = httptools.parse_url(target)
    raw_path = parsed.path or b""
    return unquote(raw_path.decode("ascii")), raw_path, parsed.query or b""


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()


class Cycle:
    """One request and its answer, as ASGI sees them. uvicorn's protocol reads and sets what has no underscore."""

    task: Any = None
    more_body = True
    disconnected = False
    response_complete = False
    _started = False
    _head = b""
    _left: int | None = None
    """Bytes of the body that are still to come; None: nobody counts, they come in chunks."""
    _parts: list[bytes] | None = None
    """What is to be written at the end of this turn."""
    _size = 0
    """Bytes in the parts."""

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.body = b""
        self._connection = connection
        self._transport = connection.transport
        self._flow = connection.flow
        self._expects = connection.expect_100_continue

    async def run_asgi(self, app: Application) -> None:
        """Have `app` answer; what it does not answer is a 500, and what it leaves half answered ends the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:
            logger.exception("Exception in ASGI application")
        finally:
            self._connection.tasks.discard(self.task)  # where a callback of the task would cost one more turn of the loop
            self.task = None
        if self.response_complete or self.disconnected:
            return
        if self._started and not self._head:
            self._flush()
            self._transport.close()
        else:
            self._started, self._parts = False, None
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body"})

    async def receive(self) -> Message:
        """Return what has come of the body, or "disconnect"."""
        if self._expects and not self._transport.is_closing():
            self._expects = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            if not self.message_event.is_set():
                await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Send a part of the answer, now or at the end of this turn of the loop.

        Raises:
            RuntimeError: it does not fit to what was sent before.
        """
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        wanted = "http.response.body" if self._started else "http.response.start"
        if message["type"] != wanted or self.response_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        if not self._started:
            self._head = self._headed(message["status"], message.get("headers", ()))
            self._started = True
            self._expects = False
            return
        body = b"" if self.scope["method"] == "HEAD" else message.get("body", b"")
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("the body is longer than its Content-Length says")
        if message.get("more_body", False):
            self._keep(body)
        else:
            self._end(body)

    def _headed(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the head of the answer, and note how its body is framed."""
        lines = b""
        closes = False
        length = 0 if self.scope["method"] == "HEAD" or status in _BODILESS else None
        for name, value in headers:
            lines += b"%b: %b\r\n" % (name, value)
            kind = name.lower()
            if kind == b"content-length" and length is None:
                length = int(value)
            elif kind == b"connection":
                closes = b"close" in value.lower()
        if lines.translate(None, _ALLOWED) != b"\r\n" * len(headers):
            raise RuntimeError("a header has a character that no header may have")
        if closes or not self.keep_alive:
            lines += b"" if closes else b"connection: close\r\n"
            self.keep_alive = False
        if length is None and b"transfer-encoding: chunked" not in lines:
            lines += b"transfer-encoding: chunked\r\n"
        self._left = length
        return b"%b%b%b\r\n" % (STATUS_LINE[status], _date_line(int(time.time())), lines)

    def _keep(self, body: bytes) -> None:
        """Have `body` written at the end of this turn, or at once where it has become much."""
        if self._parts is None:
            self._parts = []
            self._connection.loop.call_soon(self._flush)
        self._parts.append(body)
        self._size += len(body)
        if self._size > HIGH_WATER_LIMIT:
            self._flush()

    def _flush(self) -> None:
        self._write(self._joined())

    def _joined(self, body: bytes = b"") -> bytes:
        """Return what was kept, and `body`; nothing is kept then."""
        if self._parts is None:
            return body
        body = b"".join((*self._parts, body))
        self._parts, self._size = None, 0
        return body

    def _end(self, body: bytes) -> None:
        if self._left:
            raise RuntimeError("the body is shorter than its Content-Length says")
        self._write(self._joined(body), b"0\r\n\r\n" if self._left is None else b"")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self._transport.close()
        self._connection.on_response_complete()

    def _write(self, body: bytes, end: bytes = b"") -> None:
        if body and self._left is None:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        data = self._head + body + end
        self._head = b""
        if data and not self.disconnected:
            self._transport.write(data)
