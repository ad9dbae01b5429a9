"""Idle connections to sandboxes, a few per port, for a short while."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from typing import TYPE_CHECKING

from sandyard.domain.sandboxes import SandboxState
from sandyard.ingress.back import Back

if TYPE_CHECKING:
    from sandyard.catalog import Catalog
    from sandyard.ingress.limits import IngressLimits
    from sandyard.ingress.routing import Target
    from sandyard.ports import Dialer


@functools.cache
def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pool:
    """Hands out connections to running sandboxes: a kept one where there is one, else a new one through the dialler."""

    def __init__(self, catalog: Catalog, dialer: Dialer, limits: IngressLimits) -> None:
        self._catalog = catalog
        self._dialer = dialer
        self._limits = limits
        self._idle: dict[Target, list[Back]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, target: Target) -> Back | None:
        """Return the kept connection that was used last, or None."""
        idle = self._idle.get(target)
        while idle:
            back = idle.pop()
            if not idle:
                del self._idle[target]
            if back.usable:
                back.reused = True
                return back
        return None

    async def open(self, target: Target) -> Back:
        """Return a new connection.

        Raises:
            SandboxGone, PortClosed: as `Dialer.connect`.
            TimeoutError: the sandbox did not accept in `connect_timeout`.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._limits.connect_timeout):
            sock = await self._dialer.connect(target.sandbox_id, target.port)
            try:
                tls = self._tls_of(target)
                name = "localhost" if tls else None
                _, back = await loop.create_connection(
                    lambda: Back(self, target, self._limits.buffer_bytes), sock=sock, ssl=tls, server_hostname=name
                )
            except BaseException:
                sock.close()
                raise
        return back

    def _tls_of(self, target: Target) -> ssl.SSLContext | None:
        """Return how to speak to a port that speaks TLS itself. Its certificate says nothing: the dialler knows whom it reached."""
        route = self._catalog.get(target.sandbox_id)
        return None if route is None or target.port not in route.https_ports else _any_certificate()

    def give(self, back: Back) -> None:
        """Keep a connection whose exchange is over, if its sandbox still runs and there is room."""
        route = self._catalog.get(back.target.sandbox_id)
        idle = self._idle.setdefault(back.target, [])
        if route is None or route.state is not SandboxState.RUNNING or len(idle) >= self._limits.pool_size:
            if not idle:
                del self._idle[back.target]
            back.abort()
            return
        back.idle_since = time.monotonic()
        idle.append(back)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._limits.pool_timeout, self._close_old)

    def forget(self, back: Back) -> None:
        """An idle connection was closed by its sandbox."""
        idle = self._idle.get(back.target, [])
        if back in idle:
            idle.remove(back)
            if not idle:
                del self._idle[back.target]

    def close(self) -> None:
        """Close every idle connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in list(self._idle.values()):
            for back in list(idle):
                back.abort()
        self._idle.clear()

    def _close_old(self) -> None:
        self._sweep = None
        now = oldest = time.monotonic()
        limit = now - self._limits.pool_timeout
        for idle in list(self._idle.values()):
            for back in list(idle):
                if back.idle_since <= limit:
                    self.forget(back)
                    back.abort()
                else:
                    oldest = min(oldest, back.idle_since)
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(oldest + self._limits.pool_timeout - now, self._close_old)
