"""Names to addresses, off the event loop."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.egress.addresses import Address

_THREADS = 16


class Resolver(Protocol):
    """Resolves one name once."""

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses in the order in which they should be tried.

        Raises:
            OSError: there are none.
        """
        ...


class SystemResolver:
    """The host's own resolver, in threads of its own: slow look-ups of sandboxes must not hold up the server's work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="egress-dns")

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        texts = dict.fromkeys(str(info[4][0]) for info in found)
        return [ip_address(text) for text in texts if "%" not in text]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
