"""uvicorn, with uvloop and httptools, that sleeps while nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from ppio_sandbox.agent_runtime.runtime import logs
from ppio_sandbox.agent_runtime.runtime.connection import Connection

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from ppio_sandbox.agent_runtime.runtime.asgi import Application
    from ppio_sandbox.agent_runtime.runtime.models import RuntimeConfig

KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 10
"""So long running requests may go on after SIGTERM."""


def serve(app: Application, config: RuntimeConfig, port: int | None, host: str | None, *, with_websocket: bool) -> None:
    """Serve `app` until SIGTERM or SIGINT; `port` and `host`, if told, go before those of `config`."""
    logs.configure(config.debug)
    told = {"port": config.port if port is None else port, "host": config.host if host is None else host}
    with contextlib.suppress(KeyboardInterrupt):
        Server(settings(app, config.model_copy(update=told), with_websocket=with_websocket)).run()


def settings(app: Application, config: RuntimeConfig, *, with_websocket: bool) -> uvicorn.Config:
    """Return how `app` is served on the host and port of `config`."""
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        loop="uvloop",
        http=Connection,
        ws="websockets-sansio" if with_websocket else "none",
        lifespan="on",
        log_config=None,  # logging is the agent's to configure
        log_level="warning",
        access_log=False,  # the application writes a line per request in debug mode, with its ids
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _url(listener: Any) -> str:
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class Server(uvicorn.Server):
    """A uvicorn server that waits for its end instead of looking for it ten times a second.

    The other thing that uvicorn's tick does, the Date header, `Connection` does when it answers.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._end = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                sys.stderr.write(f"the agent listens on {_url(listener)}\n")

    async def main_loop(self) -> None:
        """Return when the server shall end."""
        await self._end.wait()

    def stop(self) -> None:
        """End the server; callable from any thread and from signal handlers."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, on a signal."""
        super().handle_exit(sig, frame)
        self.stop()
