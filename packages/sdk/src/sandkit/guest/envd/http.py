"""HTTP/1.1 on one connection: keep-alive, bodies by length or in chunks, replies whole or streamed; nothing is held but one piece."""

from __future__ import annotations

from sandkit.guest.envd import heads
from sandkit.guest.envd.heads import Refused
from sandkit.guest.light import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from sandkit.guest.envd.loop import Channel, Loop

    Handler = Callable[["Exchange"], Awaitable[None]]

HEAD_LIMIT = 64 * 1024  # bytes of request line and headers
HEAD_TIMEOUT = 10.0  # seconds from a request's first byte to the end of its headers
BODY_TIMEOUT = 60.0  # seconds that a client of a unary call, or of an upload, may be silent
IDLE_TIMEOUT = 300.0  # seconds that a connection may wait for its next request
PIECE = 256 * 1024  # bytes taken from a socket at once
_LEFT_OVER = 1 << 30  # bytes of an unread body that are read so that the client sees the answer, which it may do at its end only
_LINE_LIMIT = 256  # of a chunk's size with its extensions, of a trailer


class Source:
    """What a client sends, with what was read too early kept for the next."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._kept = b""

    @property
    def empty(self) -> bool:
        return not self._kept

    async def more(self) -> bool:
        """Read on; return whether there was anything."""
        data = await self._channel.read(PIECE)
        self._kept += data
        return bool(data)

    async def until(self, mark: bytes, limit: int) -> bytes | None:
        """Return what stands before `mark`, and take both; None if the client has left, or sends no mark within `limit` bytes."""
        while (end := self._kept.find(mark, 0, limit)) < 0:
            if len(self._kept) >= limit or not await self.more():
                return None
        found, self._kept = self._kept[:end], self._kept[end + len(mark) :]
        return found

    async def some(self, limit: int) -> bytes:
        """Return 1 to `limit` bytes; nothing at the end."""
        if not self._kept:
            return await self._channel.read(min(limit, PIECE))
        found, self._kept = self._kept[:limit], self._kept[limit:]
        return found


class Body:
    """A request's body, read in pieces.

    Raises:
        Refused: it is malformed.
        OSError: the client left in the middle.
    """

    def __init__(self, source: Source, length: int | None, begin: Callable[[], Awaitable[None]] | None) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0  # of the body, or of the chunk
        self._begin = begin
        self.ended = length == 0

    async def read(self, limit: int = PIECE) -> bytes:
        """Return 1 to `limit` bytes; nothing at the end."""
        if self._begin is not None and not self.ended:
            begin, self._begin = self._begin, None
            await begin()
        if self._chunked and not self._left and not self.ended:
            await self._next_chunk()
        if self.ended:
            return b""
        data = await self._source.some(min(limit, self._left))
        if not data:
            raise ConnectionResetError("the client left in the middle of its request")
        self._left -= len(data)
        if not self._left:
            if self._chunked:
                await self._line()
            else:
                self.ended = True
        return data

    async def whole(self, limit: int) -> bytes:
        """Return all of it.

        Raises:
            Refused: 413, it is larger than `limit` bytes.
        """
        pieces: list[bytes] = []
        size = 0
        while data := await self.read():
            size += len(data)
            if size > limit:
                raise Refused(413, f"The request is larger than {limit} bytes.")
            pieces.append(data)
        return b"".join(pieces)

    async def drain(self) -> bool:
        """Read what nobody wanted; return whether the connection can go on."""
        left = _LEFT_OVER
        if self._begin is not None and not self.ended:
            return False  # a client that waits for 100 Continue will not send it
        while left > 0 and (data := await self.read()):
            left -= len(data)
        return self.ended

    async def _next_chunk(self) -> None:
        line = (await self._line()).partition(b";")[0].strip()
        try:
            self._left = int(line, 16) if line.isalnum() and len(line) < 16 else -1
        except ValueError:
            self._left = -1
        if self._left < 0:
            raise Refused(400, "A chunk's size is malformed.")
        if self._left == 0:
            while await self._line():
                pass  # trailers
            self.ended = True

    async def _line(self) -> bytes:
        line = await self._source.until(b"\r\n", _LINE_LIMIT)
        if line is None:
            raise Refused(400, "A chunk's end is malformed.")
        return line


class Exchange:
    """One request and its reply."""

    def __init__(self, loop: Loop, channel: Channel, head: heads.Head, source: Source) -> None:
        self.loop = loop
        self.head = head
        self.channel = channel
        expects = head.headers.get("expect", "").lower() == "100-continue"
        self.body = Body(source, head.length, self._continue if expects else None)
        self.begun = False
        self.keep_alive = head.keep_alive
        self._chunked = False

    async def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole reply."""
        length = {} if status in (204, 304) else {"Content-Length": str(len(body))}
        start = self._start(status, {**length, **(headers or {})})
        await self.channel.write(start if self.head.method == "HEAD" else start + body)

    async def reply_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        await self.reply(status, encode(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    async def refuse(self, refused: Refused) -> None:
        await self.reply_json(refused.status, heads.error_body(refused.status, refused.message), refused.headers)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a reply whose size is not known: `chunk` by `chunk`, until `end`."""
        self._chunked = self.head.version == 1
        self.keep_alive = self.keep_alive and self._chunked
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {}
        await self.channel.write(self._start(status, {**headers, **framing}))

    async def begin_sized(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        """Begin a reply of `length` bytes that the caller sends by the channel."""
        await self.channel.write(self._start(status, {**headers, "Content-Length": str(length)}))

    async def chunk(self, data: bytes) -> None:
        """Send a piece at once."""
        await self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        if self._chunked:
            await self.channel.write(b"0\r\n\r\n")

    def _start(self, status: int, headers: Mapping[str, str]) -> bytes:
        self.begun = True
        lines = [f"HTTP/1.1 {status} {heads.REASONS[status]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not self.keep_alive:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    async def _continue(self) -> None:
        if not self.begun:
            await self.channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def serve(loop: Loop, channel: Channel, handler: Handler) -> None:
    """Answer request after request until the client leaves. `handler` may raise Refused before it has begun to reply.

    Raises:
        OSError: the client broke off; TimeoutError: it was too slow.
    """
    source = Source(channel)
    while True:
        if source.empty:
            with loop.limit(IDLE_TIMEOUT):
                if not await source.more():
                    return
        with loop.limit(HEAD_TIMEOUT):
            raw = await source.until(b"\r\n\r\n", HEAD_LIMIT)
        if raw is None:
            if not source.empty and not channel.gone:
                await _refuse_head(loop, channel, source, Refused(431, "The headers are too large."))
            return
        try:
            head = heads.parse(raw.lstrip(b"\r\n"))
        except Refused as refused:
            await _refuse_head(loop, channel, source, refused)
            return
        if not await _answer(Exchange(loop, channel, head, source), handler):
            return


async def _answer(exchange: Exchange, handler: Handler) -> bool:
    """Answer one request; return whether the connection can take another."""
    try:
        await handler(exchange)
    except Refused as refused:
        if exchange.begun:
            return False  # the reply is cut short: the client sees a broken body
        await exchange.refuse(refused)
    except MemoryError:
        if exchange.begun:
            return False
        await exchange.refuse(Refused(503, "The sandbox is out of memory."))
    except (OSError, TimeoutError):
        raise
    except Exception as error:
        if exchange.begun:
            raise
        await exchange.refuse(Refused(500, f"The guest failed, which is its mistake: {error!r}."))
    try:
        with exchange.loop.limit(BODY_TIMEOUT):
            return await exchange.body.drain() and exchange.keep_alive
    except Refused:
        return False


async def _refuse_head(loop: Loop, channel: Channel, source: Source, refused: Refused) -> None:
    """Answer what is no request; it is the connection's last."""
    exchange = Exchange(loop, channel, heads.Head("GET", "/", 1, {}), source)
    exchange.keep_alive = False
    await exchange.refuse(refused)
