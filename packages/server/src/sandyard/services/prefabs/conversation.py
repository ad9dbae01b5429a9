"""The server's end of one call's connection to the runner in the sandbox. Nothing that comes out of there is trusted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from sandkit.prefabs.frames import BYTES, CHUNK, HEAD, JSON

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sandyard.services.prefabs.neighbours import InputFile

_BUFFER = 256 * 1024
_SLACK = 64 * 1024
"""Bytes that a message's frame may have beside what a function gave."""
_LEAVING_SECONDS = 2.0


class Broken(Exception):  # noqa: N818 (read as a sentence)
    """The connection ended early, or what came was no message of ours."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the call left: the key that it is returned under, its path below data/outputs, its size in bytes."""

    key: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to `invoke`: the function's output and its files, or the code and message of its failure."""

    output: Mapping[str, Any] | None = None
    files: Sequence[OutputFile] = ()
    warnings: Sequence[str] = ()
    code: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Departure:
    """How the call's process ended, and the last of what it printed."""

    code: int | None = None
    signal: int | None = None
    log: str = ""


class Conversation:
    """One call on one connection. Closing it cancels what still runs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit + _SLACK
        self.size = 0
        """Bytes of the last message."""
        self.left: Departure | None = None
        """How the process ended, once that was heard."""

    @classmethod
    async def open(cls, sock: socket.socket, limit: int) -> Conversation:
        """Take over a connected socket; `limit` bounds each message, in bytes."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=_BUFFER)
        return cls(reader, writer, limit)

    async def invoke(self, params: Mapping[str, Any], files: Sequence[tuple[InputFile, AsyncIterator[bytes]]]) -> None:
        """Send the request, then the bytes of its files."""
        self._send(JSON, orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "invoke", "params": params}))
        with suppress(ConnectionError):  # its end says more than our failure to write
            for _, chunks in files:
                async for chunk in chunks:
                    for start in range(0, len(chunk), CHUNK):
                        self._send(BYTES, chunk[start : start + CHUNK])
                        await self._writer.drain()
                self._send(BYTES, b"")
            await self._writer.drain()

    async def next(self) -> Mapping[str, Any] | Answer | Departure:
        """Return the next event (as the function yielded it), the answer, or how the process ended without one.

        Raises:
            Broken: none of these came.
        """
        message = await self._message()
        params = message.get("params")
        match message.get("method"):
            case "event" if isinstance(params, dict):
                return cast("dict[str, Any]", params)
            case "exited" if isinstance(params, dict):
                self.left = _departure(cast("dict[str, Any]", params))
                return self.left
            case None:
                return _answer(message)
            case _:
                raise Broken("an unknown message came")

    async def file(self, size: int) -> AsyncIterator[bytes]:
        """Yield the bytes of the next file, `size` at most.

        Raises:
            Broken: it was cut off, or is longer than it was said to be.
        """
        while data := await self._frame(BYTES, CHUNK):
            size -= len(data)
            if size < 0:
                raise Broken("a file is longer than it was said to be")
            yield data

    async def departure(self) -> Departure:
        """Return how the process ended, where that is still to be heard."""
        with suppress(Broken, TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                while True:
                    heard = await self.next()
                    if isinstance(heard, Departure):
                        return heard
        return Departure()

    def hang_up(self) -> None:
        """Say no more, which ends the process if it still runs; how it ended can be heard."""
        with suppress(OSError):
            self._writer.write_eof()

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self._writer.transport.abort()

    def _send(self, kind: int, data: bytes) -> None:
        self._writer.write(HEAD.pack(kind, len(data)) + data)

    async def _message(self) -> dict[str, Any]:
        body = await self._frame(JSON, self._limit)
        self.size = len(body)
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Broken(f"what came is not JSON: {error}") from None
        if not isinstance(message, dict):
            raise Broken("what came is no message")
        return cast("dict[str, Any]", message)

    async def _frame(self, kind: int, limit: int) -> bytes:
        try:
            found, length = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if found != kind or length > limit:
                raise Broken("what came is no frame")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Broken("the connection ended") from error


def _answer(message: Mapping[str, Any]) -> Answer:
    try:
        if "error" in message:
            error = message["error"]
            return Answer(code=str(error["data"]["error_code"]), message=str(error["message"]))
        result = message["result"]
        output = dict(cast("dict[str, Any]", result["output"]))
        files = [OutputFile(str(file["key"]), str(file["name"]), int(file["size"])) for file in result["files"]]
        return Answer(output=output, files=files, warnings=[str(line)[:300] for line in result["warnings"][:20]])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Broken("what came is no answer") from None


def _departure(params: Mapping[str, Any]) -> Departure:
    code, signal = params.get("code"), params.get("signal")
    return Departure(
        code=code if isinstance(code, int) else None,
        signal=signal if isinstance(signal, int) else None,
        log=str(params.get("log", ""))[-16_384:],
    )
