"""The synchronous sender, over the same requests and replies as the asynchronous one: the only module that knows urllib3.

Not aiohttp on a loop in a thread: a script's call would pass two threads, and `break` would have to be carried across.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import AsyncIterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3
from urllib3 import exceptions

from sandkit.http.errors import ConnectFailedError, CutShortError, TimedOutError, TransportError
from sandkit.http.messages import Reply

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator, Iterator

    from sandkit.http.messages import Limits, Request

READ_BYTES = 2**16


class SyncStreamedReply:
    """A reply whose body is still coming. `seconds` bounds each wait; `deadline` (monotonic), where there is one, all of them."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, seconds: float, deadline: float | None) -> None:
        self._response = response
        self._url = url
        self._seconds = seconds
        self._deadline = deadline
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive.

        Raises:
            CutShortError: the connection ended before the body did.
            TimedOutError: nothing came in time.
        """
        while True:
            with _translated(self._url):  # around the reading alone: what the reader's own code raises stays what it is
                self._bound_wait()
                part = self._response.read1(READ_BYTES)
            if not part:
                return
            yield part

    def whole(self) -> Reply:
        """Return the reply with all of its body."""
        return Reply(self.status, self.headers, b"".join(self))

    def _bound_wait(self) -> None:
        seconds = self._seconds if self._deadline is None else self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        line: socket.socket | None = getattr(self._response.connection, "sock", None)
        if line is not None:
            line.settimeout(seconds)


class SyncSender:
    """Sends requests through a pool of connections, from any thread; through a proxy only where its limits name one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = threading.BoundedSemaphore(limits.max_connections)
        self._kept = max(1, limits.max_idle)  # for the library, 0 is no bound
        self._pool = urllib3.PoolManager(maxsize=self._kept, block=False, retries=False)
        self._proxied: dict[str, urllib3.ProxyManager] = {}
        self._using = threading.Lock()
        self._used_at = time.monotonic()

    def send(self, request: Request, *, timeout: float) -> Reply:
        """Return the whole reply, whatever its status, within `timeout` seconds in all.

        Raises:
            TransportError: no whole reply arrived.
        """
        with self._opened(request, timeout, time.monotonic() + timeout) as reply:
            return reply.whole()

    @contextmanager
    def open(self, request: Request, *, timeout: float) -> Generator[SyncStreamedReply]:
        """Send, and give the reply once its headers are here; `timeout` bounds each wait for something to come, in seconds.

        Leaving the block before the end of the body closes the connection: the other side sees it at once.

        Raises:
            TransportError: no reply came, or it was cut short.
        """
        with self._opened(request, timeout, None) as reply:
            yield reply

    def close(self) -> None:
        """Close the connections that are idle; those in use close with their replies."""
        for pool in (self._pool, *self._proxied.values()):
            pool.clear()

    @contextmanager
    def _opened(self, request: Request, seconds: float, deadline: float | None) -> Generator[SyncStreamedReply]:
        with _translated(request.url):
            self._take_place(seconds)
        try:
            with _translated(request.url):
                response = self._sent(request, seconds)
            try:
                yield SyncStreamedReply(response, request.url, seconds, deadline)
            finally:
                response.close()
                response.release_conn()
        finally:
            self._places.release()

    def _sent(self, request: Request, seconds: float) -> urllib3.BaseHTTPResponse:
        if isinstance(request.body, AsyncIterable):
            raise TypeError("the synchronous sender sends bytes, whole or in pieces")
        return self._way(request.url).request(
            request.method,
            request.url,
            body=request.body,
            headers=dict(request.headers) | ({} if self._limits.max_idle else {"connection": "close"}),
            redirect=False,  # credentials go where they were meant to go, and nowhere else
            preload_content=False,
            timeout=urllib3.Timeout(connect=min(self._limits.connect_timeout, seconds), read=seconds),
        )

    def _take_place(self, seconds: float) -> None:
        """Wait for one of `max_connections` places. Whoever comes first after a long pause lets go of what was idle in it."""
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError
        with self._using:
            now = time.monotonic()
            if now - self._used_at > self._limits.keepalive_expiry:
                self.close()
            self._used_at = now

    def _way(self, url: str) -> urllib3.PoolManager:
        proxy = self._limits.proxies.of(url) if self._limits.proxies is not None else None
        if proxy is None:
            return self._pool
        if proxy not in self._proxied:
            self._proxied[proxy] = urllib3.ProxyManager(proxy, maxsize=self._kept, block=False, retries=False)
        return self._proxied[proxy]


class _Discreet(logging.Filter):
    """The library logs each target as it is sent; what follows a `?` may be a signature, which is a credential. That a connection
    more than are kept was closed is no warning: it was asked for.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Connection pool is full"):
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(word.split("?", 1)[0] if isinstance(word, str) and "?" in word else word for word in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_Discreet())


@contextmanager
def _translated(url: str) -> Generator[None]:
    """Turn the library's exceptions into ours."""
    try:
        yield
    except (exceptions.HTTPError, OSError) as error:
        raise _failure(error, url.split("?", 1)[0]) from error


def _failure(error: Exception, where: str) -> TransportError:
    match error:
        case exceptions.ConnectTimeoutError() | exceptions.NewConnectionError() | exceptions.LocationValueError():
            return ConnectFailedError(f"cannot connect to {where}: {_reason(error)}")
        case exceptions.TimeoutError() | exceptions.EmptyPoolError() | TimeoutError():
            return TimedOutError(f"{where} did not answer in time")
        case exceptions.ProtocolError(__cause__=http.client.IncompleteRead()):
            return CutShortError(f"the answer of {where} was cut off")
        case _:
            return CutShortError(f"the connection to {where} ended before its answer did: {_reason(error)}")


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return str(cause.strerror).lower() if isinstance(cause, OSError) and cause.strerror else str(cause)
