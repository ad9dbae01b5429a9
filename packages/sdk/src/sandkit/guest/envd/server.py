"""The process that serves the guest's port: accepts, and answers by path. Nothing that a client sends ends more than its own connection."""

from __future__ import annotations

import os

from sandkit.guest.envd import http
from sandkit.guest.envd.heads import Refused
from sandkit.guest.envd.loop import Bell, Channel, Loop
from sandkit.guest.envd.process_service import Processes
from sandkit.guest.envd.rpc import Services
from sandkit.guest.envd.users import Users
from sandkit.guest.light import forget_ambient_capabilities, signal, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sandkit.guest.envd.files import Files
    from sandkit.guest.envd.http import Exchange
    from sandkit.guest.envd.metrics import Metrics

CONNECTIONS = 1024  # more wait in the socket's backlog
_LINGER = 2.0  # seconds that a client has to take our last answer
_LINGER_BYTES = 1024 * 1024
_FULL_PAUSE = 0.1  # seconds between two looks for a free descriptor
_ACCEPTED_AT_ONCE = 64


class Server:
    """Everything that is behind the port."""

    def __init__(self, loop: Loop, listener: socket.socket, environment: Mapping[str, str]) -> None:
        self._loop = loop
        self._listener = listener
        self._environment = environment
        self._free = CONNECTIONS
        self._freed = Bell(loop)
        self._users = Users(environment)
        self._files: Files | None = None
        self._metrics: Metrics | None = None
        self._has_filesystem = False
        self.processes = Processes(loop, environment)
        self._services = Services(self._users)
        self.processes.install(self._services)

    async def run(self) -> None:
        """Accept for ever."""
        self._loop.spawn(self.processes.run())
        door = Channel(self._loop, self._listener.fileno())
        while True:
            while not self._free:
                await self._freed.wait()
            try:
                fd = _accept(self._listener)
            except BlockingIOError:
                await door.readable.wait()
            except OSError:
                await self._pause()
            else:
                self._free -= 1
                self._loop.spawn(self._connection(fd))

    async def _pause(self) -> None:
        """We are out of descriptors: look again when one may be free."""
        try:
            with self._loop.limit(_FULL_PAUSE):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _connection(self, fd: int) -> None:
        """Serve one client to its end."""
        client = socket.socket(fileno=fd)
        channel = Channel(self._loop, fd)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await http.serve(self._loop, channel, self._answer)
            await self._linger(channel)
        except (OSError, TimeoutError):
            pass  # it left, or was too slow
        finally:
            client.detach()
            channel.close()
            self._free += 1
            self._freed.ring()

    async def _linger(self, channel: Channel) -> None:
        """Take what the client still sends: closing with something unread would take our last answer from it."""
        if channel.gone:
            return
        ending = socket.socket(fileno=channel.fd)
        try:
            ending.shutdown(socket.SHUT_WR)
        finally:
            ending.detach()
        left = _LINGER_BYTES
        with self._loop.limit(_LINGER):
            while left > 0 and (data := await channel.read(http.PIECE)):
                left -= len(data)

    async def _answer(self, exchange: Exchange) -> None:
        path, method = exchange.head.path, exchange.head.method
        if path.startswith("/filesystem."):
            self._add_filesystem()
        if path.startswith(("/process.", "/filesystem.")):
            await self._services.serve(exchange)
        elif path == "/health":
            _only(method, "GET", "HEAD")
            await exchange.reply(204)
        elif path in ("/files", "/files/compose"):
            await self._answer_files(exchange)
        elif path == "/metrics":
            _only(method, "GET", "HEAD")
            await self._answer_metrics(exchange)
        elif path == "/envs":
            _only(method, "GET", "HEAD")
            await exchange.reply_json(200, dict(self._environment))
        else:
            raise Refused(404, "The sandbox has no such path.")

    # What a first command does not need is imported by who asks for it: that is a third of the time to the first answer.

    def _add_filesystem(self) -> None:
        if self._has_filesystem:
            return
        from sandkit.guest.envd.filesystem_service import Filesystem  # noqa: PLC0415 (see above)
        from sandkit.guest.envd.watch_service import Watching  # noqa: PLC0415 (see above)

        self._has_filesystem = True
        Filesystem(self.processes).install(self._services)
        Watching(self._loop).install(self._services)

    async def _answer_files(self, exchange: Exchange) -> None:
        if self._files is None:
            from sandkit.guest.envd.files import Files  # noqa: PLC0415 (see above)

            self._files = Files(self._users)
        await self._files.answer(exchange)

    async def _answer_metrics(self, exchange: Exchange) -> None:
        if self._metrics is None:
            from sandkit.guest.envd.metrics import Metrics  # noqa: PLC0415 (see above)

            self._metrics = Metrics(self._users.find(None).home)
        await exchange.reply_json(200, self._metrics.now())


def _accept(listener: Any) -> int:
    """Return the next client's descriptor, as the C class under `socket.socket` gives it."""
    return listener._accept()[0]  # noqa: SLF001 (its only one)


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise Refused(405, f"Ask with {allowed[0]}.", {"Allow": ", ".join(allowed)})


def main(listener: int, environment: Mapping[str, str]) -> None:
    """Serve on the listening descriptor until SIGTERM, which ends what clients have started, too."""
    os.umask(0o022)
    forget_ambient_capabilities()
    loop = Loop()
    server = Server(loop, socket.socket(fileno=listener), environment)

    def end(_number: int, _frame: object) -> None:
        server.processes.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    loop.run(server.run())
