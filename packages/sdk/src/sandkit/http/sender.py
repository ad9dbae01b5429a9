"""The asynchronous sender: the only module that knows the HTTP library (aiohttp; `benchmarks/http_clients.py` says why).

A sender keeps one pool per event loop that uses it, so that a client made at import time, or one that a framework drives from
a new loop for each request, works. Its synchronous twin is `sync_sender`, over the same requests and replies.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp

from sandkit.http.errors import ConnectFailedError, CutShortError, TimedOutError, TransportError
from sandkit.http.messages import Limits, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey

    from sandkit.http.messages import Request


NOTICE_AFTER = 0.1
"""Seconds without a request, after which idle connections are looked at before the next one."""
IDLE_AFTER = 0.5
"""Seconds that a connection may have nothing to do before it counts as idle: in a burst all of them do, between two calls."""


class StreamedReply:
    """A reply whose body is still coming. Closing it before the end closes the connection: the other side sees it at once."""

    def __init__(self, response: aiohttp.ClientResponse, timeout: float) -> None:
        self._response = response
        self._timeout = timeout
        self.status = response.status
        self.headers = _lower(response.headers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive.

        Raises:
            CutShortError: the connection ended before the body did.
            TimedOutError: nothing came for the time-out's length.
        """
        with _translated(str(self._response.url)):
            while True:
                async with asyncio.timeout(self._timeout):
                    chunk = await self._response.content.readany()
                if not chunk:
                    return
                yield chunk

    async def whole(self) -> Reply:
        """Return the reply with all of its body."""
        return Reply(self.status, self.headers, b"".join([chunk async for chunk in self]))

    def close(self) -> None:
        self._response.close()


class AsyncSender:
    """Sends requests through a pool of connections; through a proxy only where its limits name one."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        self._used_at = time.monotonic()

    async def send(self, request: Request, *, timeout: float) -> Reply:  # noqa: ASYNC109 (also a bound of each part)
        """Return the whole reply, whatever its status, within `timeout` seconds in all.

        Raises:
            TransportError: no whole reply arrived.
        """
        with _translated(request.url):
            async with asyncio.timeout(timeout), self.open(request, timeout=timeout) as reply:
                return await reply.whole()

    @asynccontextmanager
    async def open(self, request: Request, *, timeout: float) -> AsyncGenerator[StreamedReply]:  # noqa: ASYNC109 (of each wait)
        """Send, and give the reply once its headers are here; `timeout` bounds each wait for something to come, in seconds.

        Raises:
            TransportError: no reply came.
        """
        await self._notice_closed()
        with _translated(request.url):
            async with asyncio.timeout(timeout):
                session = await self._session()
                response = await session.request(
                    request.method,
                    request.url,
                    headers=dict(request.headers),
                    data=request.body,
                    allow_redirects=False,  # credentials go where they were meant to go, and nowhere else
                    proxy=self._limits.proxies.of(request.url) if self._limits.proxies is not None else None,
                )
        try:
            yield StreamedReply(response, timeout)
        finally:
            response.close()

    async def aclose(self) -> None:
        """Close the pool of this event loop, and let go of the others."""
        loop = asyncio.get_running_loop()
        self._sessions.pop(loop, None)
        closer = self._closers.pop(loop, None)
        self._let_go(list(self._sessions))
        if closer is not None:
            await closer.aclose()

    def __del__(self) -> None:
        self._let_go(list(self._sessions))

    async def _notice_closed(self) -> None:
        """Let the loop see which idle connections the other side has closed while the caller's own code kept the loop busy."""
        now = time.monotonic()
        if now - self._used_at > NOTICE_AFTER:
            await asyncio.sleep(0)  # the end of a stream is read in one turn of the loop,
            await asyncio.sleep(0)  # and the connection taken out of the pool in the next
        self._used_at = now

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            self._let_go([other for other in list(self._sessions) if other.is_closed()])
            session = self._sessions[loop] = _new_session(self._limits)
            closer = self._closers[loop] = _closing(session)
            await anext(closer)
        return session

    def _let_go(self, loops: Iterable[asyncio.AbstractEventLoop]) -> None:
        """Close the pools of loops that do not run here: a client that nobody closed is no reason to complain at exit."""
        for loop in loops:
            session = self._sessions.pop(loop, None)
            self._closers.pop(loop, None)
            if session is None:
                continue  # another thread, with a loop of its own, was quicker
            connector = session.connector
            session.detach()
            if connector is not None:
                closing = connector.close()
                with suppress(Exception):  # the first step closes; the rest would wait for a loop that does not run
                    next(iter(closing.__await__()))


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    """Close the session with its loop: a loop that ends (`asyncio.run`) first closes the asynchronous generators begun in it."""
    try:
        yield
    finally:
        await session.close()


class _Pool(aiohttp.TCPConnector):
    """A pool that keeps no more than `max_idle` idle connections, which the library (below version 4) has no setting for."""

    max_idle = 100
    _trimming: asyncio.TimerHandle | None = None

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if self._trimming is None and sum(map(len, self._conns.values())) > self.max_idle:
            self._trimming = self._loop.call_later(IDLE_AFTER, self._trim)

    def _trim(self) -> None:
        """Close the connections that have been idle for longest; those of a burst that still goes on are looked at again."""
        self._trimming = None
        idle = sorted(((since, protocol, kept) for kept in self._conns.values() for protocol, since in kept), key=lambda one: one[0])
        for since, protocol, kept in idle[: max(0, len(idle) - self.max_idle)]:
            if time.monotonic() - since < IDLE_AFTER:
                self._trimming = self._loop.call_later(IDLE_AFTER, self._trim)
                break
            kept.remove((protocol, since))
            protocol.close()


def _new_session(limits: Limits) -> aiohttp.ClientSession:
    pool = _Pool(limit=limits.max_connections, keepalive_timeout=limits.keepalive_expiry)
    pool.max_idle = limits.max_idle
    return aiohttp.ClientSession(
        connector=pool,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout),
        headers={"accept-encoding": "identity"},  # what is compressed comes in blocks; a chunk must come when it is made
        skip_auto_headers=("user-agent", "content-type"),  # a request names what it has
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=2**16,
    )


class _translated:  # noqa: N801 (reads as the phrase it is)
    """Turn the library's exceptions into ours."""

    def __init__(self, url: str) -> None:
        self._where = url.split("?", 1)[0]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        failure = _failure(error, self._where) if error is not None else None
        if failure is not None:
            raise failure from error


def _failure(error: BaseException, where: str) -> TransportError | None:
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.InvalidURL():
            return ConnectFailedError(f"cannot connect to {where}: {_reason(error)}")
        case TimeoutError():
            return TimedOutError(f"{where} did not answer in time")
        case aiohttp.ClientPayloadError():
            return CutShortError(f"the answer of {where} was cut off")
        case aiohttp.ClientError() | ConnectionError():
            return CutShortError(f"the connection to {where} ended before its answer did: {_reason(error)}")
        case _:
            return None


def _reason(error: BaseException) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return os.strerror(cause.errno).lower()
    return str(cause) or type(cause).__name__


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
