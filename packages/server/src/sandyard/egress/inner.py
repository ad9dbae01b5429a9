"""The platform's own name inside sandboxes: no name server knows it, and it leads to the gateway and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sandyard.egress.addresses import Address
    from sandyard.egress.policy import Destination

_HTTP = 80


class Noted(Protocol):
    """Who is told which sandbox a connection to the gateway comes from (`services.origins`)."""

    def enter(self, host: str, port: int, sandbox_id: str) -> None: ...

    def leave(self, host: str, port: int) -> None: ...


@dataclass(slots=True, eq=False)
class Inner:
    """`host` on port 80 is `address`, which is known once the server listens."""

    host: str
    origins: Noted
    address: tuple[str, int] | None = None

    def means(self, destination: Destination) -> bool:
        return destination.host == self.host and destination.port == _HTTP

    async def dial(self, sandbox_id: str) -> tuple[socket.socket, Address]:
        """Return a connected, non-blocking socket to the gateway, noted as this sandbox's until `left`.

        Raises:
            OSError: nobody listens (yet).
        """
        if self.address is None:
            raise ConnectionRefusedError(None, "the platform does not listen yet")
        address = ip_address(self.address[0])
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self.address)
            host, port = sock.getsockname()[:2]
            self.origins.enter(host, port, sandbox_id)
        except BaseException:
            sock.close()
            raise
        return sock, address

    def left(self, end: tuple[str, int]) -> None:
        """Forget a connection that has ended; `end` is our end of it."""
        self.origins.leave(*end)
