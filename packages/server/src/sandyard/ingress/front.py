"""One client's connection: parses requests, one exchange at a time, and loses patience with those who stall."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from sandkit.wire.errors import INVALID_REQUEST, REQUEST_TIMEOUT, UNAVAILABLE, ApiError
from sandyard.ingress.exchange import Exchange
from sandyard.ingress.heads import head_too_large, inspect_request, new_request_id
from sandyard.ingress.limits import Wait
from sandyard.ingress.memory import KnownHead, remember
from sandyard.ingress.replies import error_reply

if TYPE_CHECKING:
    from sandyard.ingress.heads import Header, RequestHead
    from sandyard.ingress.passage import Passage
    from sandyard.ingress.plane import Plane

_RESET = struct.pack("ii", 1, 0)


class Front(asyncio.Protocol):
    """The client's side. `fronts` is the server's register of open connections."""

    def __init__(self, plane: Plane, fronts: set[Front]) -> None:
        self.writable = True
        self.feeding = False
        self.gone = asyncio.Event()
        self._plane = plane
        self._fronts = fronts
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._active: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._receiving: Exchange | None = None
        self._in_head = False
        self._head_bytes = 0
        self._read_bytes = 0
        self._header_bytes = 0
        self._url = b""
        self._headers: list[Header] = []
        self._priming = False
        self._failure: ApiError | None = None
        self._known: tuple[KnownHead, RequestHead, Passage] | None = None
        self._raw = False
        self._deaf = False
        self._paused = False
        self._lost = False
        self._timers()

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._plane.limits.buffer_bytes)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fronts.add(self)
        if len(self._fronts) > self._plane.limits.connections:
            self._refuse(ApiError(UNAVAILABLE, "The ingress has no room for another connection; try again later"))
        else:
            self._wait(Wait.HEAD)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._raw and self._receiving is not None:
            self._receiving.request_data(data)
            return
        fresh = self._active is None and not self._in_head and not self._queue
        if fresh and self._recognise(data):
            return
        self._feed(data)
        if fresh:
            self._remember(data)

    def eof_received(self) -> None:
        """A client that has nothing more to say has left: HTTP has no use for half-open connections (nginx: 499)."""
        if self._active is not None and not self._raw:
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._lost = True
        self._fronts.discard(self)
        self.gone.set()
        if self._timer is not None:
            self._timer.cancel()
        self._leave()

    def pause_writing(self) -> None:
        self.writable = False
        self._stuck_at = self._transport.get_write_buffer_size()
        self._wait(Wait.READER)
        if self._active is not None:
            self._active.hold_response()

    def resume_writing(self) -> None:
        self.writable = True
        if self._deaf:
            return
        self._wait(Wait.BODY if self._active is not None and not self._active.request_done else Wait.NOTHING)
        if self._active is not None:
            self._active.resume_response()

    # --- what exchanges ask for

    def write(self, data: bytes) -> None:
        if not self._lost:
            self._transport.write(data)

    def pause_reading(self) -> None:
        if not self._paused and not self._lost:
            self._paused = True
            self._transport.pause_reading()
            if self._waiting is Wait.BODY:
                self._wait(Wait.NOTHING)

    def resume_reading(self) -> None:
        if self._paused and not self._lost and not self._queue:
            self._paused = False
            self._transport.resume_reading()
            if self._active is not None and not self._active.request_done and self.writable:
                self._wait(Wait.BODY)

    def relay(self) -> None:
        """From now on bytes are bytes: the sandbox has switched protocols."""
        self._raw = True
        self._wait(Wait.NOTHING)

    def exchange_over(self, exchange: Exchange, *, keep: bool) -> None:
        """The active exchange has been answered."""
        if exchange is not self._active:
            return
        self._active = None
        if not keep or self._failure is not None:
            self._end(self._failure if keep else None)
        elif self._queue:
            self._loop.call_soon(self._next)
        elif self._plane.draining:
            self._linger()
        else:
            self.resume_reading()
            self._wait(Wait.HEAD if self._in_head else Wait.REQUEST)

    def cut(self, *, reset: bool) -> None:
        """End without the end of the body: what was sent is delivered, the missing rest is visible.

        With `reset` only a TCP reset can show it (HTTP/1.0 bodies that end with the connection).
        """
        self._active = None
        self._deaf = True
        if self._lost:
            return
        if reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self.close()

    def close(self) -> None:
        """Close when all that was written is with the client, in bounded time."""
        self._active = None
        if not self._lost:
            self._deaf = True
            self._transport.close()
            self._wait(Wait.READER)

    def drain(self) -> None:
        """Close now if nothing is under way; else the running exchange is the last."""
        if self._active is None and not self._queue and not self._deaf:
            self.close()

    def abort(self) -> None:
        if not self._lost:
            self._transport.abort()

    # --- parsing

    def _recognise(self, data: bytes) -> bool:
        """Take a whole request whose head is known; the parser, which is between two messages, need not see it."""
        if self._known is None:
            return False
        known, head, passage = self._known
        told = known.read(data)
        if told is None or bool(told.body) != head.has_body or len(told.body) > self._plane.limits.body_bytes:
            return False
        self._waiting = Wait.NOTHING
        exchange = self._active = self._receiving = Exchange(self._plane, self, head, length=told.length, passage=passage)
        exchange.request_id = told.request_id or exchange.request_id
        self._repeat(exchange, told.body)
        if exchange.passage is not None and exchange.passage is not passage:
            self._known = known, head, exchange.passage
        return True

    def _repeat(self, exchange: Exchange, body: bytes) -> None:
        self.feeding = True
        exchange.start()
        if body:
            exchange.request_data(body)
            exchange.request_end()
        self.feeding = False
        exchange.flush_request()

    def _remember(self, data: bytes) -> None:
        """Keep the head of a request that was all of one read, was admitted, and changes nothing about its connection."""
        last = self._receiving
        if last is None or last.passage is None or not last.request_done or not last.head.plain:
            return
        known = remember(data, last.head.method + b" ", last.head.length)
        self._known = None if known is None else (known, last.head, last.passage)

    def _feed(self, data: bytes) -> None:
        self._read_bytes = len(data)
        self.feeding = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._bad(cause if isinstance(cause, ApiError) else ApiError(INVALID_REQUEST, "This is not well-formed HTTP/1.1"))
        else:
            self._watch_request()
        self.feeding = False
        if self._active is not None:
            self._active.flush_request()

    def _watch_request(self) -> None:
        if self._in_head:
            self._head_bytes += self._read_bytes
            if self._head_bytes > self._plane.limits.head_bytes:
                self._bad(head_too_large(self._plane.limits))
            elif self._active is None and self._waiting is not Wait.HEAD:
                self._wait(Wait.HEAD)
        elif self._active is not None and not self._active.request_done and not self._paused and self.writable:
            self._wait(Wait.BODY)

    def _after_upgrade(self, rest: bytes) -> None:
        """The parser stops at any Upgrade; only WebSocket is one for us, for all others the request goes on as if without."""
        exchange = self._receiving
        if exchange is not None and exchange.head.websocket:
            self._raw = True
            if rest:
                exchange.request_data(rest)
            return
        self._parser = httptools.HttpRequestParser(self)
        if exchange is not None and not exchange.request_done:
            framing = b"transfer-encoding: chunked" if exchange.head.chunked else b"content-length: %d" % (exchange.head.length or 0)
            self._priming = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._priming = False
        if rest:
            self._feed(rest)

    def on_message_begin(self) -> None:
        if self._priming:
            return
        if self._active is not None:
            self.pause_reading()
        self._in_head = True
        self._head_bytes = 0 if self._active is None else -self._read_bytes  # what came before the head in this read is none of it
        self._url, self._headers = b"", []
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._priming:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # trailers are dropped
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes + len(self._url) > self._plane.limits.head_bytes:
            raise head_too_large(self._plane.limits)
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._priming:
            return
        parser = self._parser
        head = inspect_request(parser.get_method(), self._url, parser.get_http_version(), self._headers, self._plane.limits)
        self._in_head = False
        exchange = self._receiving = Exchange(self._plane, self, head, length=head.length)
        if self._active is None and not self._queue and not self._deaf:
            self._wait(Wait.NOTHING)
            self._active = exchange
            exchange.start()
        else:
            self._queue.append(exchange)

    def on_body(self, data: bytes) -> None:
        if self._receiving is not None:
            self._receiving.request_data(data)

    def on_message_complete(self) -> None:
        exchange = self._receiving
        if exchange is not None and not (self._parser.should_upgrade() and exchange.head.has_body):
            exchange.request_end()

    # --- ends

    def _next(self) -> None:
        if self._lost or self._deaf:
            return
        self._active = self._queue.popleft()
        self._active.start()

    def _bad(self, error: ApiError) -> None:
        """The client's bytes make no sense from here on: answer what came before, then say so."""
        receiving = self._receiving
        if not self._in_head and receiving is not None and receiving is self._active and not receiving.request_done:
            receiving.fail(error)
        elif self._active is not None:
            self._failure = error
            self.pause_reading()
        elif not self._deaf:
            self._refuse(error)

    def _refuse(self, error: ApiError) -> None:
        self.write(error_reply(error, request_id=new_request_id(), sandbox_id=None, close=True, head_only=False))
        self._linger()

    def _end(self, failure: ApiError | None) -> None:
        self._queue.clear()
        if failure is not None:
            self._refuse(failure)
        else:
            self._linger()

    def _linger(self) -> None:
        """Close so that the client can still read our last words: closing on unread input would reset the connection."""
        self._deaf = True
        if self._lost:
            return
        self._queue.clear()
        if not self._transport.can_write_eof():  # TLS ends in both directions at once
            self.close()
            return
        self._transport.write_eof()
        self.resume_reading()
        self._wait(Wait.GOODBYE)

    def _leave(self) -> None:
        active, self._active = self._active, None
        self._queue.clear()
        self._deaf = True
        if active is not None:
            active.client_left()
        elif self._raw and self._receiving is not None:
            self._receiving.client_left()

    # --- time-outs: one lazy timer, re-armed only when it fires too early

    def _timers(self) -> None:
        self._waiting = Wait.NOTHING
        self._deadline = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._stuck_at = 0

    def _wait(self, what: Wait) -> None:
        self._waiting = what
        if what is Wait.NOTHING:
            return
        self._deadline = self._loop.time() + getattr(self._plane.limits, what.value)
        if self._timer is None or self._timer_at > self._deadline:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._waiting is Wait.NOTHING or self._lost:
            return
        if self._loop.time() < self._deadline - 0.001:
            self._arm()
        else:
            self._expire(self._waiting)

    def _expire(self, waiting: Wait) -> None:
        if waiting is Wait.HEAD:
            self._refuse(ApiError(REQUEST_TIMEOUT, "The request's head did not arrive in time"))
        elif waiting is Wait.BODY and self._active is not None:
            self._active.fail(ApiError(REQUEST_TIMEOUT, "The request's body did not arrive in time"))
        elif waiting is Wait.REQUEST:
            self.close()
        elif waiting is not Wait.BODY and self._transport.get_write_buffer_size() not in (0, self._stuck_at):
            self._stuck_at = self._transport.get_write_buffer_size()
            self._wait(Wait.READER)
        else:
            self._transport.abort()
