"""A CONNECT proxy on loopback that finds every name below a domain on this machine: what DNS would do elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def resolving(domain: str) -> AsyncGenerator[str, None]:
    """Run the proxy; yield its URL. Names outside `domain` are refused."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _tunnel(domain, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tunnel(domain: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    verb, target, _ = head.decode().split(" ", 2)
    name, _, port = target.rpartition(":")
    if verb != "CONNECT" or not name.endswith(domain):
        writer.write(b"HTTP/1.1 502 Unknown name\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return
    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", int(port))
    try:
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, back_writer))
            both.create_task(_copy(back_reader, writer))
    except* (OSError, RuntimeError):  # uvloop's word for a transport that is closed
        pass
    finally:
        back_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
