"""Connecting sockets that live in a sandbox's network."""

from __future__ import annotations

import asyncio
import socket

from sandyard.domain.errors import PortClosed

_TIMEOUT = 5.0


async def connected(fd: int, port: int) -> socket.socket:
    """Return the socket `fd`, which is ours from now on, connected to 127.0.0.1:`port` where it lives.

    Raises:
        PortClosed: nothing listens there.
    """
    sock = socket.socket(fileno=fd)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(_TIMEOUT):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except (OSError, TimeoutError) as error:
        sock.close()
        raise PortClosed(f"Nothing listens on port {port} of the sandbox.") from error
    except BaseException:
        sock.close()
        raise
    return sock
