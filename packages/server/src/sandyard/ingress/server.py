"""The ingress as a service: a listener and everything behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandyard.ingress.front import Front
from sandyard.ingress.limits import IngressLimits
from sandyard.ingress.plane import Plane
from sandyard.ingress.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandyard.catalog import Catalog, Route
    from sandyard.ports import Dialer


class Ingress:
    """The data plane: streams between a client and one port of one sandbox. Reads the catalog, calls no service.

    `owner_of` returns whose an API key is, or None; `internal_token` the JWT that a request carries into the sandbox;
    `is_platform_key` tells whether a string is a key of this platform, and so must never reach a sandbox. All three are called
    on the event loop and must not wait. `wake` resumes a sandbox that is paused and has `auto_resume`; it raises ApiError where it
    cannot.
    """

    def __init__(
        self,
        catalog: Catalog,
        dialer: Dialer,
        *,
        owner_of: Callable[[str], str | None],
        internal_token: Callable[[Route], str],
        is_platform_key: Callable[[str], bool],
        wake: Callable[[str], Awaitable[object]],
        limits: IngressLimits | None = None,
    ) -> None:
        limits = limits or IngressLimits()
        self._plane = Plane(
            catalog=catalog,
            pool=Pool(catalog, dialer, limits),
            owner_of=owner_of,
            internal_token=internal_token,
            is_platform_key=is_platform_key,
            wake=wake,
            limits=limits,
        )
        self._fronts: set[Front] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address. Port 0 lets the system choose.

        Raises:
            OSError: the address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.protocol, host, port, backlog=1024)
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of one more connection, for a listener that is not ours (TLS)."""
        return Front(self._plane, self._fronts)

    async def aclose(self) -> None:
        """Accept no more, let exchanges finish for `drain_timeout` seconds, cut the rest. Idempotent."""
        self._plane.draining = True
        if self._server is not None:
            self._server.close()
        for front in list(self._fronts):
            front.drain()
        await self._emptied(self._plane.limits.drain_timeout)
        for front in list(self._fronts):
            front.abort()
        await self._emptied(1.0)
        await self._plane.tasks.aclose()
        self._plane.pool.close()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def _emptied(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._fronts:
                    await next(iter(self._fronts)).gone.wait()
        except TimeoutError:
            pass
