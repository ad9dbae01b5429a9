"""One connection that a sandbox made to its proxy, and the one that the proxy makes for it."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, cast

import httptools

from sandyard.egress.connect import Unreachable, check, connect
from sandyard.egress.policy import Destination, Refused, read_destination

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandyard.egress.account import Account
    from sandyard.egress.addresses import Address

_ABSOLUTE = re.compile(r"http://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_SERVICE_UNAVAILABLE = 503


class Door(asyncio.Protocol):
    """Reads one request (CONNECT, or an absolute http:// one), opens the way or says why not, then copies bytes."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head_done = False
        self._request_done = False
        self._tunnel = False
        self._closed = False
        self._chunked = False
        self._early: list[bytes] = []
        self._eof = False
        self._far: Far | None = None
        self._way: tuple[Destination, Address] | None = None
        self._task: asyncio.Task[None] | None = None
        self._active_at = 0.0

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        set_up(self.transport, self._account.limits.buffer_bytes)
        self._account.doors.add(self)
        self._account.all_doors.add(self)
        self._timer = self._loop.call_later(self._account.limits.head_timeout, self._head_late)
        if len(self._account.doors) > self._account.limits.connections:
            limit = self._account.limits.connections
            self._say(_SERVICE_UNAVAILABLE, f"this sandbox has {limit} connections open already, which is its limit")
        elif len(self._account.all_doors) > self._account.limits.all_connections:
            self._say(_SERVICE_UNAVAILABLE, "the platform has as many connections open as it may; try again later")

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._active_at = self._loop.time()
        if self._tunnel:
            self._send(data)
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Pass the half-close on through a tunnel; before one there is nobody to pass it to."""
        self._eof = True
        if self._tunnel and self._far is not None:
            self._far.finish()
            return True
        return self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._closed = True
        self._account.doors.discard(self)
        self._account.all_doors.discard(self)
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._far is not None:
            self._far.abort()

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.pause()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.resume()

    def abort(self) -> None:
        """End at once: the sandbox is detached."""
        if not self.transport.is_closing():
            self.transport.abort()

    def recheck(self) -> None:
        """End at once if the sandbox's policy, which has changed, refuses where this leads."""
        if self._way is None:
            return
        try:
            check(self._account, *self._way)
        except Refused:
            self._account.refused += 1
            self.abort()

    # --- reading the request

    def _parse(self, data: bytes) -> None:
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._tunnel = True
            rest = data[upgrade.args[0] :]
            if rest:
                self._send(rest)
        except httptools.HttpParserError:
            self._say(400, "this is not a well-formed request to an HTTP proxy")
        if not self._head_done and self._head_bytes > self._account.limits.head_bytes:
            self._say(431, "the head of the request is too large")

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._head_done:  # a second request: this connection serves one
            self._request_done = True
            return
        self._head_done = True
        method = self._parser.get_method()
        try:
            destination, head = self._read_head(method, self._url.decode("ascii"))
        except ValueError as error:
            sentence = "the request is not in ASCII" if isinstance(error, UnicodeError) else str(error)
            self._say(400, sentence)
            return
        self._task = self._loop.create_task(self._open(destination, head))
        self._account.tasks.add(self._task)
        self._task.add_done_callback(self._account.tasks.discard)

    def _read_head(self, method: bytes, url: str) -> tuple[Destination, bytes]:
        """Return where to, and the head to send there (empty for a tunnel)."""
        if method == b"CONNECT":
            return read_destination(url), b""
        match = _ABSOLUTE.fullmatch(url)
        if match is None:
            message = "ask for http://host/path, or use CONNECT host:port"
            raise ValueError(message)
        destination = read_destination(match[1], 80)
        return destination, self._render_head(method, match[1], match[2])

    def _render_head(self, method: bytes, authority: str, path: str) -> bytes:
        lengths = {value for name, value in self._headers if name == b"content-length"}
        codings = [value.strip().lower() for name, value in self._headers if name == b"transfer-encoding"]
        if len(lengths) > 1 or (lengths and codings) or codings not in ([], [b"chunked"]):
            message = "the request's framing is ambiguous"
            raise ValueError(message)
        self._chunked = bool(codings)
        target = path if path.startswith("/") else "/" + path
        lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target.encode(), authority.encode())]
        lines += [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] not in _HOP and pair[0] != b"host"]
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        return b"".join(lines) + b"connection: close\r\n\r\n"

    def on_body(self, data: bytes) -> None:
        if not self._request_done and not self._closed:
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def on_message_complete(self) -> None:
        if self._chunked and not self._request_done and not self._closed:
            self._send(b"0\r\n\r\n")
        self._request_done = True

    def _send(self, data: bytes) -> None:
        if self._far is None:
            self._early.append(data)
            self.pause()
        else:
            self._account.bytes_out += len(data)
            self._far.write(data)

    # --- opening the way

    async def _open(self, destination: Destination, head: bytes) -> None:
        try:
            sock, address = await connect(self._account, destination)
        except Refused as refusal:
            self._account.refused += 1
            self._say(403, str(refusal))
        except Unreachable as error:
            self._say(502, str(error))
        except TimeoutError:
            self._say(504, f"{destination} did not answer in time")
        else:
            self._way = (destination, address)
            end = sock.getsockname()[:2]
            try:
                await self._join(sock, head, destination)
            except BaseException:
                self._left(destination, end)
                raise
        finally:
            self._task = None

    def _left(self, destination: Destination, end: tuple[str, int]) -> None:
        """Note that a connection has ended, where it led to the platform itself."""
        if self._account.inner is not None and self._account.inner.means(destination):
            self._account.inner.left(end)

    async def _join(self, sock: socket.socket, head: bytes, destination: Destination) -> None:
        end = sock.getsockname()[:2]
        try:
            _, far = await self._loop.create_connection(lambda: Far(self, self._account, lambda: self._left(destination, end)), sock=sock)
        except BaseException:
            sock.close()
            raise
        if self._closed:
            far.abort()
            return
        self._far = far
        self._watch_idle()
        if head:
            self._account.bytes_out += len(head)
            far.write(head)
        else:
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        early, self._early = self._early, []
        for data in early:
            self._send(data)
        if self._eof:
            far.finish()
        self.resume()

    def _say(self, status: int, sentence: str) -> None:
        """Refuse: the sentence stands in the reason phrase, which most clients show, and in the body."""
        if self._closed:
            return
        self._closed = True
        text = f"sandyard egress: {sentence}"
        body = text.encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} {text}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii", "replace") + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer.cancel()
        self._timer = self._loop.call_later(2.0, self.abort)
        self.resume()

    # --- flow control, time-outs

    def write(self, data: bytes) -> None:
        """Take bytes from the world."""
        self._active_at = self._loop.time()
        self._account.bytes_in += len(data)
        self.transport.write(data)

    def finish(self) -> None:
        """The world has said all: half-close a tunnel, end anything else."""
        if self._tunnel and not self._eof and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _head_late(self) -> None:
        if not self._head_done:
            self._say(408, "the request did not arrive in time")

    def _watch_idle(self) -> None:
        self._timer.cancel()
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(self._account.limits.idle_timeout, self._idle)

    def _idle(self) -> None:
        rest = self._active_at + self._account.limits.idle_timeout - self._loop.time()
        if rest <= 0:
            self.abort()
        else:
            self._timer = self._loop.call_later(rest, self._idle)


class Far(asyncio.Protocol):
    """The proxy's connection to the world."""

    def __init__(self, door: Door, account: Account, left: Callable[[], None]) -> None:
        self._door = door
        self._account = account
        self._left = left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        set_up(self.transport, self._account.limits.buffer_bytes)

    def data_received(self, data: bytes) -> None:
        self._door.write(data)

    def eof_received(self) -> bool:
        """Stay: the sandbox may still have something to say."""
        self._door.finish()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        if exc is not None:
            self._door.abort()
        elif not self._door.transport.is_closing():
            self._door.transport.close()

    def pause_writing(self) -> None:
        self._door.pause()

    def resume_writing(self) -> None:
        self._door.resume()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self) -> None:
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def set_up(transport: asyncio.Transport, buffer_bytes: int) -> None:
    transport.set_write_buffer_limits(high=buffer_bytes)
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
