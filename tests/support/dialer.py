"""A twin of the `Dialer` port: ports of sandboxes stand on loopback listeners."""

from __future__ import annotations

import asyncio
import socket

from sandyard.domain.errors import PortClosed, SandboxGone


class LoopbackDialer:
    """Connects (sandbox, port) to the loopback port that `open` named; unknown sandboxes are gone, unknown ports closed."""

    def __init__(self) -> None:
        self._ports: dict[tuple[str, int], int] = {}
        self._gone: set[str] = set()
        self.connects = 0

    def open(self, sandbox_id: str, port: int, loopback_port: int) -> None:
        self._ports[sandbox_id, port] = loopback_port

    def shut(self, sandbox_id: str, port: int) -> None:
        self._ports.pop((sandbox_id, port), None)

    def end(self, sandbox_id: str) -> None:
        self._gone.add(sandbox_id)

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        self.connects += 1
        if sandbox_id in self._gone:
            raise SandboxGone(sandbox_id)
        loopback_port = self._ports.get((sandbox_id, port))
        if loopback_port is None:
            raise PortClosed(port)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", loopback_port))
        except BaseException as error:
            sock.close()
            if isinstance(error, ConnectionRefusedError):
                raise PortClosed(port) from error
            raise
        return sock
