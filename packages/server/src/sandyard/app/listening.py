"""What clients reach: the API's and the ingress' listeners."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import uvicorn

from sandyard.app.heads import HeadsInTime
from sandyard.app.tls import listen_tls
from sandyard.services.certificates import find_certificates
from sandyard.services.data_dir import ServerInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator
    from contextlib import AsyncExitStack

    from starlette.types import ASGIApp

    from sandyard.config import Settings
    from sandyard.ingress import Ingress


_HTTP_PORT, _HTTPS_PORT = 80, 443


class ApiServer(uvicorn.Server):
    """uvicorn without its signal handlers: `serve` has its own."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of one more connection, for a listener that is not ours (TLS)."""
        if not self.config.loaded:
            self.config.load()
        return self.config.http_protocol_class(config=self.config, server_state=self.server_state, app_state={})  # pyright: ignore[reportCallIssue] (uvicorn's own call)


def api_server(api: ASGIApp, settings: Settings) -> ApiServer:
    """Return the server of the control plane; it is given its socket when it runs."""
    return ApiServer(
        uvicorn.Config(
            api,
            http=HeadsInTime,
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,  # whose X-Forwarded-For is believed is the gateway's to say, and nobody's by default
            server_header=False,
            timeout_graceful_shutdown=int(settings.drain_timeout),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """What clients reach; connections wait in the kernel until the servers take them."""

    info: ServerInfo
    api_socket: socket.socket
    tls: asyncio.Server | None


async def listen(settings: Settings, api: ApiServer, ingress: Ingress, stack: AsyncExitStack) -> Listeners:
    """Open all listeners; `stack` closes them.

    Raises:
        OSError: an address is taken, or not ours; or a certificate cannot be made or read.
    """
    api_socket = stack.enter_context(_listener(settings.host, settings.api_port))
    _, ingress_port = await ingress.start(settings.host, settings.ingress_port)
    stack.push_async_callback(ingress.aclose)
    info = ServerInfo(
        pid=os.getpid(),
        api_url=_url(settings.host, api_socket.getsockname()[1]),
        sandbox_url=_url(settings.host, ingress_port),
        domain=_with_port(settings.domain, ingress_port, usual=_HTTP_PORT),
    )
    if settings.tls is None:
        return Listeners(info=info, api_socket=api_socket, tls=None)
    certificates = find_certificates(settings.tls, settings.data_dir, settings.domain)
    sock = stack.enter_context(_listener(settings.host, settings.tls_port))
    tls = await listen_tls(sock, certificates, f"api.{settings.domain}", api=api.protocol, ingress=ingress.protocol)
    stack.callback(tls.close)
    info = replace(
        info,
        domain=_with_port(settings.domain, sock.getsockname()[1], usual=_HTTPS_PORT),
        authority=certificates.authority and str(certificates.authority),
        bundle=certificates.bundle and str(certificates.bundle),
    )
    return Listeners(info=info, api_socket=api_socket, tls=tls)


def _listener(host: str, port: int) -> socket.socket:
    """Bind and listen. With `proto=0` asyncio would leave TCP_NODELAY off: 44 ms per request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror}: {host}, port {port}") from error
    return sock


def reachable(listener: socket.socket) -> tuple[str, int]:
    """Return where this machine itself reaches a listener: a wildcard address by loopback."""
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _with_port(name: str, port: int, *, usual: int) -> str:
    return name if port == usual else f"{name}:{port}"


def _url(host: str, port: int) -> str:
    """Return the URL for clients on this machine: a wildcard address is reached by loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
