"""One TLS listener for both planes: `api.<domain>` is the control plane, every other name below the domain the ingress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from sandyard.services.certificates import Certificates

_HANDSHAKE_SECONDS = 15.0
_CLOSING_SECONDS = 5.0


class _Sorter(asyncio.Protocol):
    """Lives until the handshake is over; then the protocol of the name that the client asked for takes its connection."""

    def __init__(self, choose: Callable[[object], asyncio.Protocol]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        chosen = self._choose(transport.get_extra_info("ssl_object").context)
        cast("asyncio.Transport", transport).set_protocol(chosen)
        chosen.connection_made(transport)


async def listen_tls(
    sock: socket.socket,
    certificates: Certificates,
    api_name: str,
    *,
    api: Callable[[], asyncio.Protocol],
    ingress: Callable[[], asyncio.Protocol],
) -> asyncio.Server:
    """Serve TLS on a listening socket; `api` and `ingress` make the protocol of one connection each."""
    for_ingress, for_api = certificates.context(), certificates.context()

    def choose_context(handshake: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None and name.lower() == api_name:
            handshake.context = for_api

    for_ingress.sni_callback = choose_context
    return await asyncio.get_running_loop().create_server(
        lambda: _Sorter(lambda context: api() if context is for_api else ingress()),
        sock=sock,
        ssl=for_ingress,
        ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=_CLOSING_SECONDS,
    )
