"""A client of the guest's process and file API (sandbox-protocol §2), over the sandbox's own port: for what the platform does inside.

Each call is one connection and one HTTP/1.1 exchange. What the guest answers is not trusted: sizes are bounded, and nothing of it
is more than text for people or an exit code.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import httptools

from sandyard.domain.errors import PortClosed, SandboxGone
from sandyard.domain.specs import GUEST_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from sandyard.ports import Dialer

_CHUNK = 64 * 1024
_FRAME_BYTES = 4 * 1024 * 1024
"""The most that one frame of a stream may hold."""
_REPLY_BYTES = 256 * 1024
"""The most that is read of an answer that is no stream."""
_END = 0x02


class GuestError(Exception):
    """The guest refused, went away, or spoke no sense; the message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments, to be run as `user`; without `cwd` in that user's home."""

    program: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    user: str = "user"


def shell(command: str, *, env: Mapping[str, str] | None = None, cwd: str | None = None, user: str = "user") -> Command:
    """Return a command line for bash, or for sh where the system has no bash."""
    script = 'if [ -x /bin/bash ]; then exec /bin/bash -c "$1"; else exec /bin/sh -c "$1"; fi'
    return Command(program="/bin/sh", args=("-c", script, "sh", command), env=env or {}, cwd=cwd, user=user)


class Guest:
    """The guest of one sandbox."""

    def __init__(self, dialer: Dialer, sandbox_id: str) -> None:
        self._dialer = dialer
        self._sandbox_id = sandbox_id

    async def run(self, command: Command, on_output: Callable[[bytes], Awaitable[None]]) -> int:
        """Run a command to its end, passing on what it prints; return its exit code, 137 where a signal ended it.

        Cancelling leaves the command running: it ends with its sandbox.

        Raises:
            GuestError: it could not be started, or the sandbox ended.
        """
        async with self.started(command) as process:
            return await process.wait(on_output)

    async def upload(self, path: str, chunks: AsyncIterator[bytes], size: int, *, user: str = "root") -> None:
        """Write a file as `user`; its directory is made if need be.

        Raises:
            GuestError: it could not be written.
        """
        target = f"/files?path={quote(path, safe='')}&username={quote(user, safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        async with self._exchange("POST", target, headers, chunks) as reply:
            body = await reply.all()
            if reply.status >= 300:
                raise GuestError(_message(body, reply.status))

    @asynccontextmanager
    async def started(self, command: Command) -> AsyncGenerator[Process]:
        """Start a command, and hold the connection that says what it does. It runs on when that is let go.

        Raises:
            GuestError: it could not be started.
        """
        process: dict[str, Any] = {"cmd": command.program, "args": list(command.args), "envs": dict(command.env)}
        if command.cwd is not None:
            process["cwd"] = command.cwd
        message = json.dumps({"process": process, "stdin": False}).encode()
        frame = struct.pack(">BI", 0, len(message)) + message
        login = base64.b64encode(f"{command.user}:".encode()).decode()
        headers = {
            "Content-Type": "application/connect+json",
            "Connect-Protocol-Version": "1",
            "Authorization": f"Basic {login}",
            "Content-Length": str(len(frame)),
        }
        async with self._exchange("POST", "/process.Process/Start", headers, _one(frame)) as reply:
            if reply.status != 200:
                raise GuestError(_message(await reply.all(), reply.status))
            events = _events(reply)
            first = await anext(events, dict[str, Any]())
            if "start" not in first:
                raise GuestError("The guest did not say that the command was started")
            yield Process(events)

    @asynccontextmanager
    async def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: AsyncIterator[bytes]) -> AsyncGenerator[_Reply]:
        try:
            sock = await self._dialer.connect(self._sandbox_id, GUEST_PORT)
            reader, writer = await asyncio.open_connection(sock=sock)
        except (SandboxGone, PortClosed, OSError) as error:
            raise GuestError("The sandbox's guest does not answer; the sandbox may have ended") from error
        try:
            lines = [
                f"{method} {target} HTTP/1.1",
                "Host: guest",
                "Connection: close",
                *(f"{name}: {value}" for name, value in headers.items()),
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            async for chunk in body:
                writer.write(chunk)
                await writer.drain()
            reply = _Reply(reader)
            await reply.head()
            yield reply
        except OSError as error:
            raise GuestError("The sandbox ended while the platform spoke with its guest") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Process:
    """A command that was started."""

    def __init__(self, events: AsyncIterator[dict[str, Any]]) -> None:
        self._events = events

    async def wait(self, on_output: Callable[[bytes], Awaitable[None]]) -> int:
        """Return its exit code when it has ended, passing on what it prints until then.

        Raises:
            GuestError: the sandbox ended.
        """
        async for event in self._events:
            for data in _outputs(event):
                await on_output(data)
            end = event.get("end")
            if end is not None:
                return _exit_code(end)
        raise GuestError("The sandbox ended while a command ran in it")


class _Reply:
    """One answer as it comes."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._headed = False
        self._complete = False
        self.status = 0

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._complete = True

    async def head(self) -> None:
        while not self._headed:
            if not await self._more():
                raise GuestError("The guest closed the connection without an answer")

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            for chunk in self._chunks:
                yield chunk
            self._chunks.clear()
            if self._complete or not await self._more():
                return

    async def all(self) -> bytes:
        """Return the body, cut where it is too long to be read."""
        data = bytearray()
        async for chunk in self.body():
            data += chunk
            if len(data) > _REPLY_BYTES:
                break
        return bytes(data)

    async def _more(self) -> bool:
        data = await self._reader.read(_CHUNK)
        if not data:
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise GuestError("The guest's answer is not HTTP") from error
        return True


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _events(reply: _Reply) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a Connect stream.

    Raises:
        GuestError: it ended with an error, or is no such stream.
    """
    buffer = bytearray()
    async for chunk in reply.body():
        buffer += chunk
        while len(buffer) >= 5:
            flags, length = struct.unpack_from(">BI", buffer)
            if length > _FRAME_BYTES:
                raise GuestError("The guest sent more at once than is read")
            if len(buffer) < 5 + length:
                break
            message = _object(bytes(buffer[5 : 5 + length]))
            del buffer[: 5 + length]
            if flags & _END:
                if "error" in message:
                    raise GuestError(_text(message["error"]))
                return
            event = message.get("event")
            if isinstance(event, dict):
                yield cast("dict[str, Any]", event)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GuestError("The guest's answer is not JSON") from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _outputs(event: dict[str, Any]) -> list[bytes]:
    data = event.get("data")
    texts = cast("dict[str, object]", data).values() if isinstance(data, dict) else ()
    try:
        return [base64.b64decode(str(text), validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise GuestError("The guest sent output that is not base64") from error


def _message(body: bytes, status: int) -> str:
    try:
        return _text(_object(body))
    except GuestError:
        return f"The guest answered with HTTP {status}"


def _text(error: object) -> str:
    fields = cast("dict[str, object]", error) if isinstance(error, dict) else {}
    return str(fields.get("message") or "The guest refused without a word")[:2000]


def _exit_code(end: object) -> int:
    """Return the code of an `end` event; by its status where a signal ended the command."""
    fields = cast("dict[str, Any]", end) if isinstance(end, dict) else {}
    code = fields.get("exitCode", 0)
    return code if isinstance(code, int) and code >= 0 else 137
