"""The platform's client of the guest, against guests that are not what they should be."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from sandyard.domain.specs import GUEST_PORT
from sandyard.services.guest import Guest, GuestError, shell
from support.dialer import LoopbackDialer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.promise("template.hostile_guest")]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\nConnection: close\r\n\r\n"


def frame(message: object, flags: int = 0) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(body)) + body


START = frame({"event": {"start": {"pid": 2}}})


def said(text: str) -> bytes:
    return frame({"event": {"data": {"stdout": base64.b64encode(text.encode()).decode()}}})


@asynccontextmanager
async def guest(answer: bytes, *, endless: bool = False) -> AsyncGenerator[Guest]:
    """A guest that answers everything with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while endless:
                writer.write(answer)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        dialer = LoopbackDialer()
        dialer.open("s1", GUEST_PORT, server.sockets[0].getsockname()[1])
        yield Guest(dialer, "s1")


async def run(of: Guest) -> tuple[int, bytes]:
    printed = bytearray()

    async def take(data: bytes) -> None:
        printed.extend(data)

    async with asyncio.timeout(10):
        return await of.run(shell("true"), take), bytes(printed)


async def test_what_it_prints_and_how_it_ends() -> None:
    end = frame({"event": {"end": {"exited": True, "exitCode": 3, "status": "exit status 3"}}})
    stream = START + said("a") + frame({"event": {"keepalive": {}}}) + said("b") + end + frame({}, 2)
    async with guest(HEAD + stream) as of:
        assert await run(of) == (3, b"ab")
    killed = frame({"event": {"end": {"exitCode": -1, "exited": False, "status": "signal: killed"}}})
    async with guest(HEAD + START + killed) as of:
        assert await run(of) == (137, b"")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b'HTTP/1.1 400 Bad\r\nContent-Length: 27\r\n\r\n{"message":"there is none"}', "there is none"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nnot", "HTTP 500"),
        (HEAD, "did not say that the command was started"),
        (HEAD + said("early"), "did not say that the command was started"),
        (HEAD + START, "ended while a command ran"),
        (HEAD + START + struct.pack(">BI", 0, 2**31), "more at once"),
        (HEAD + START + frame({"error": {"code": "internal", "message": "no luck"}}, 2), "no luck"),
        (HEAD + START + struct.pack(">BI", 0, 3) + b"{]}", "not JSON"),
        (HEAD + START + struct.pack(">BI", 0, 200_000) + b"[" * 200_000, "not JSON"),
        (HEAD + START + frame({"event": {"data": {"stdout": "%%%"}}}), "not base64"),
        (HEAD + START + frame([1]) + frame({"event": 7}) + frame({"event": {"data": 5, "end": 1}}), ""),
    ],
)
async def test_no_answer_is_more_than_an_error(answer: bytes, says: str) -> None:
    async with guest(answer) as of:
        if says:
            with pytest.raises(GuestError, match=says):
                await run(of)
        else:
            assert (await run(of))[0] == 0


async def test_an_endless_refusal_is_not_read_to_its_end() -> None:
    async with guest(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + bytes(65535) + b"\r\n", endless=True) as of:
        with pytest.raises(GuestError):
            await run(of)


async def test_nobody_there() -> None:
    with pytest.raises(GuestError, match="does not answer"):
        await run(Guest(LoopbackDialer(), "s1"))
