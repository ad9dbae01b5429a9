"""Requests of the platform itself to addresses that callers chose: by the rules and the one look-up that sandboxes are held to."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from sandyard.egress.policy import Destination, Refused, Rules, read_destination
from sandyard.egress.resolver import SystemResolver
from sandyard.egress.routes import is_own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import ResolveResult

    from sandyard.domain.specs import EgressPolicy
    from sandyard.egress.addresses import Address
    from sandyard.egress.resolver import Resolver

_SECONDS = 10.0
_PORTS = {"https": 443, "http": 80}


class Outward(AbstractResolver):
    """Checks and posts. As aiohttp's resolver it gives only addresses that may be connected to, and these are what is connected to."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver | None = None) -> None:
        self._rules = Rules.of(policy)
        self._own = SystemResolver() if resolver is None else None
        self._resolver = resolver or self._own

    async def check(self, url: str) -> None:
        """Refuse a URL that is none of HTTP, or leads where nothing may go.

        Raises:
            ValueError: with a sentence.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                await self._admitted(_destination(url))
        except Refused as refused:
            raise ValueError(str(refused).removesuffix(" of this sandbox")) from None
        except (OSError, UnicodeError):  # TimeoutError is one
            raise ValueError("the name cannot be resolved") from None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post once, without following a redirect, and return the status; the answer's body is not read.

        Raises:
            ValueError: as `check`. OSError: nobody answered within 10 seconds.
        """
        await self.check(url)  # an address in the URL itself is never looked up
        connector = aiohttp.TCPConnector(resolver=self, force_close=True, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
                session.post(url, headers=dict(headers), data=body, allow_redirects=False) as reply,
            ):
                return reply.status
        except aiohttp.ClientError as error:
            raise OSError(type(error).__name__) from error

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """As aiohttp asks."""
        try:
            addresses = await self._admitted(read_destination(host, port))
        except Refused as refused:
            raise OSError(str(refused)) from None
        wanted = [address for address in addresses if family in {socket.AF_UNSPEC, _family(address)}]
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            {"hostname": host, "host": str(address), "port": port, "family": _family(address), "proto": 0, "flags": flags}
            for address in wanted
        ]

    async def close(self) -> None:
        """Do nothing: sessions come and go, this stays until `end`."""

    def end(self) -> None:
        """End the threads of look-ups."""
        if self._own is not None:
            self._own.close()

    async def _admitted(self, destination: Destination) -> list[Address]:
        self._rules.check_name(destination)
        assert self._resolver is not None
        literal = destination.address
        found = [literal] if literal is not None else list(await self._resolver(destination.host, destination.port))
        return self._rules.check_addresses(destination, found, own=[address for address in found if is_own(address)])


def _destination(url: str) -> Destination:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.netloc or "@" in parts.netloc or not url.isascii() or any(c <= " " for c in url):
        raise ValueError("must be an http:// or https:// URL without user and password")
    return read_destination(parts.netloc, _PORTS[parts.scheme])


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
