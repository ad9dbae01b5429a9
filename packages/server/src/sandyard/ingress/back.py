"""One connection to a port of a sandbox. Nothing that arrives on it is trusted."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

import httptools

from sandyard.ingress.heads import ResponseHead, inspect_response
from sandyard.ingress.memory import KnownHead, remember

if TYPE_CHECKING:
    from sandyard.ingress.exchange import Exchange
    from sandyard.ingress.heads import Header
    from sandyard.ingress.pool import Pool
    from sandyard.ingress.routing import Target

RESPONSE_HEAD_BYTES = 256 * 1024


class Back(asyncio.Protocol):
    """Parses responses and hands them to the exchange it works for; without one it lies idle in the pool."""

    def __init__(self, pool: Pool, target: Target, buffer_bytes: int) -> None:
        self.target = target
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.reused = False
        self.lost = False
        self._pool = pool
        self._buffer_bytes = buffer_bytes
        self._raw = False
        self._paused = False
        self._known: tuple[KnownHead, ResponseHead] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reason = b""
        self._headers: list[Header] = []
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._pieces: list[bytes] = []
        self._ended = False
        self._spoiled = False

    # --- what the exchange asks for

    def begin(self, exchange: Exchange) -> None:
        """Work for `exchange` from now on."""
        self.exchange = exchange
        self._head, self._ended = None, False
        self._head_bytes = 0

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        if not self._paused and not self.lost:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self.lost:
            self._paused = False
            self._transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        """Leave the exchange: back to the pool, or closed."""
        self.exchange = None
        if reusable and not self._raw and not self._spoiled and not self.lost:
            self.resume_reading()
            self._pool.give(self)
        else:
            self.abort()

    def close(self, seconds: float) -> None:
        """Leave the exchange; what was written still goes out, for at most `seconds`."""
        self.exchange = None
        if not self.lost:
            self._transport.close()
            asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        self.exchange = None
        if not self.lost:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        return not self.lost and not self._transport.is_closing()

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._buffer_bytes)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._transport.abort()
        elif self._raw:
            exchange.response_data(data)
            exchange.flush_response()
        elif not self._recognise(exchange, data):
            self._feed(exchange, data)

    def eof_received(self) -> None:
        """Let the transport close; what that means is decided in `connection_lost`."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self.lost = True
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            self._pool.forget(self)
        else:
            exchange.back_lost()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.hold_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    # --- parsing

    def _recognise(self, exchange: Exchange, data: bytes) -> bool:
        """Pass on a whole response whose head is known; the parser, which is between two messages, need not see it."""
        if self._known is None or self._head_bytes or exchange.head.method == b"HEAD":
            return False
        known, head = self._known
        body = known.body_of(data)
        if body is None:
            return False
        exchange.response_head(head, len(body))
        exchange.response_data(body)
        exchange.response_end()
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the head of a response that was all of one read and may be followed by another."""
        head = self._head
        if self._ended and not self._spoiled and head is not None and head.length is not None and head.keep_alive and not head.bodiless:
            known = remember(data, b"HTTP/1.1 ", head.length)
            self._known = None if known is None else (known, head)

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        fresh = not self._head_bytes
        if self._head is None:
            self._head_bytes += len(data)
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw = True
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._spoiled = True
        if self._head is None and self._head_bytes > RESPONSE_HEAD_BYTES:
            self._spoiled = True
        if fresh:
            self._remember(data)
        self._deliver(exchange, rest)

    def _deliver(self, exchange: Exchange, rest: bytes) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and self.exchange is exchange:
            exchange.response_data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self.exchange is not exchange:
            return
        if self._ended:
            exchange.response_end()
        elif self._spoiled:
            exchange.back_broke()
        else:
            if rest:
                exchange.response_data(rest)
            exchange.flush_response()

    def on_message_begin(self) -> None:
        if self._ended or self.exchange is None:
            self._spoiled = True  # bytes after the end of a response: nothing on this connection can be believed
            return
        self._reason, self._headers, self._head = b"", [], None

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self._spoiled or self._ended:
            return
        head = inspect_response(self._parser.get_status_code(), self._reason, self._parser.get_http_version(), self._headers)
        if head.status == 101 and not (exchange.head.websocket and self._parser.should_upgrade()):
            message = "101 that nobody asked for"
            raise ValueError(message)
        self._head = head
        exchange.response_head(head, head.length)
        if head.status >= 200 and exchange.head.method == b"HEAD":
            self._ended = self._spoiled = True  # the parser expects the body that a HEAD reply announces

    def on_body(self, data: bytes) -> None:
        if not self._ended:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head is not None and self._head.status >= 200:
            self._ended = True
