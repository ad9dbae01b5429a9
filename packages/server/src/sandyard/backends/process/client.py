"""The server's side of the keeper: found or started, asked, heard."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sandkit
import sandyard
from sandyard.domain.errors import BackendUnavailable, MountRefused, NotSupported, SandboxGone

from . import protocol, sentences
from .daemon import SOCKET

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sandyard.domain.errors import BackendError

_CALL_TIMEOUT = 30.0
_START_TIMEOUT = 15.0
_ATTEMPTS = 3
_RUN = "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from sandyard.backends.process.daemon import main; main()"
_ERRORS = {protocol.GONE: SandboxGone, protocol.IN_THE_WAY: MountRefused, protocol.UNSUPPORTED: NotSupported}

_SOURCES = ":".join(sorted({str(Path(package.__file__ or "").resolve().parent.parent) for package in (sandyard, sandkit)}))


class KeeperClient:
    """One connection to the keeper of a data directory; `lost` is called once when it breaks, unless `close` did that.

    `on_event` hears each event as it arrives. `limits_inside`: the guests have to limit their processes themselves;
    `has_root`: there can be a user 0 inside.
    """

    def __init__(self, sock: socket.socket, on_event: Callable[[protocol.Message], None], lost: Callable[[], None]) -> None:
        self._sock = sock
        self._on_event = on_event
        self._lost = lost
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[protocol.Message, list[int]]]] = {}
        self._loop = asyncio.get_running_loop()
        self.pid = 0
        self.limits_inside = False
        self.has_root = False
        self._loop.add_reader(sock.fileno(), self._on_readable)

    @property
    def connected(self) -> bool:
        return self._sock.fileno() >= 0

    async def call(
        self,
        operation: str,
        fds: tuple[int, ...] = (),
        *,
        timeout: float = _CALL_TIMEOUT,  # noqa: ASYNC109 (its error names it)
        **fields: Any,
    ) -> tuple[protocol.Message, list[int]]:
        """Return the reply's content and its descriptors, which are the caller's.

        Raises:
            SandboxGone: the sandbox does not live.
            BackendUnavailable: the keeper refused, died or does not answer.
        """
        if not self.connected:
            raise BackendUnavailable("The sandbox keeper has gone.")
        claimed = False
        number = next(self._numbers)
        future = self._waiting[number] = self._loop.create_future()
        try:
            await self._send({"id": number, "op": operation, **fields}, fds)
            async with asyncio.timeout(timeout):
                reply = await future
            claimed = True
        except TimeoutError:
            raise BackendUnavailable(f"The sandbox keeper did not answer within {timeout:g} s.") from None
        finally:
            self._waiting.pop(number, None)
            if not claimed and future.done() and not future.cancelled() and future.exception() is None:
                _close(future.result()[1])
        return reply

    async def shutdown(self) -> None:
        """Have the keeper end every sandbox and itself; return when it has gone."""
        pidfd = os.pidfd_open(self.pid)
        ended: asyncio.Event = asyncio.Event()
        self._loop.add_reader(pidfd, ended.set)
        try:
            await self.call("shutdown")
            async with asyncio.timeout(_CALL_TIMEOUT):
                await ended.wait()
        finally:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)

    def close(self) -> None:
        """Close without calling `lost`; pending calls fail."""
        if not self.connected:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BackendUnavailable("The sandbox keeper has gone."))

    async def _send(self, message: protocol.Message, fds: tuple[int, ...]) -> None:
        while True:
            try:
                protocol.send(self._sock, message, fds)
            except BlockingIOError:
                await self._writable()
            except (protocol.Closed, OSError) as error:
                raise BackendUnavailable("The sandbox keeper has gone.") from error
            else:
                return

    async def _writable(self) -> None:
        """Wait until the keeper has read something. Several may wait: each takes its turn by a duplicate of the socket."""
        duplicate = os.dup(self._sock.fileno())
        ready: asyncio.Event = asyncio.Event()
        self._loop.add_writer(duplicate, ready.set)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT):
                await ready.wait()
        finally:
            self._loop.remove_writer(duplicate)
            os.close(duplicate)

    def _on_readable(self) -> None:
        try:
            while True:
                message, fds = protocol.receive(self._sock)
                self._on_message(message, fds)
        except BlockingIOError:
            return
        except (protocol.Closed, ValueError):
            self.close()
            self._lost()

    def _on_message(self, message: protocol.Message, fds: list[int]) -> None:
        if "event" in message:
            self._on_event(message)
            return
        future = self._waiting.get(message["id"])
        if future is None or future.done():
            _close(fds)
        elif "error" in message:
            future.set_exception(_error(message["error"], message["message"]))
        else:
            future.set_result((message["ok"], fds))


def _error(word: str, sentence: str) -> BackendError:
    if word in _ERRORS:
        return _ERRORS[word](sentence)
    return BackendUnavailable(sentences.refusal(sentence) if word == protocol.REFUSED else sentence)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


async def connect(data_dir: Path, isolation: str, on_event: Callable[[protocol.Message], None], lost: Callable[[], None]) -> KeeperClient:
    """Return a connection to the data directory's keeper, which is started if none runs.

    Raises:
        BackendUnavailable: it cannot be started; the message is the keeper's own.
    """
    for _ in range(_ATTEMPTS):
        await _start(data_dir, isolation)
        try:
            client = KeeperClient(protocol.connection(str(data_dir / SOCKET)), on_event, lost)
        except OSError:
            continue  # it was just leaving
        try:
            reply, _ = await client.call("hello")
            client.pid = reply["pid"]
            client.has_root = reply.get("has_root", False)
            client.limits_inside = reply.get("limits_inside", False)  # a keeper of an earlier version says nothing of it
        except BackendUnavailable:
            client.close()
            continue
        return client
    raise BackendUnavailable("The sandbox keeper does not answer: another server may be connected to it.")


async def _start(data_dir: Path, isolation: str) -> None:
    """Start a keeper; where one runs already, the new one leaves at once."""
    arguments = ("-I", "-S", "-B", "-X", "utf8", "-c", _RUN, _SOURCES, str(data_dir), isolation)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={}, cwd="/"
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            errors = await process.stderr.read()
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise BackendUnavailable(f"The sandbox keeper did not start within {_START_TIMEOUT:g} s.") from None
    if process.returncode:
        raise BackendUnavailable(sentences.refusal(errors.decode(errors="replace")))
