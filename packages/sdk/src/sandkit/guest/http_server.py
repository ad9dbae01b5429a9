"""What speaks HTTP on the guest's port: `GET /health` is answered with 204.

A process of its own, from the first connection on; its standard input is the listening socket. Here asyncio may be imported: the
agent runs long since.
"""

from __future__ import annotations

import asyncio
import socket
import sys

HEAD_LIMIT = 16 * 1024  # bytes of request line and headers
TIMEOUT = 10.0  # seconds for a client to send its request, and again to take the answer
CONNECTIONS = 256  # more wait in the socket's backlog

_ANSWER = "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n"


def answer(head: bytes) -> bytes:
    """Return the whole response to a request with this head (request line and headers)."""
    method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not target.startswith(b"/"):
        return _error("400 Bad Request", 400, "This is not an HTTP/1.1 request.")
    if target.partition(b"?")[0] != b"/health":
        return _error("404 Not Found", 404, "The sandbox has no such path.")
    if method not in (b"GET", b"HEAD"):
        return _error("405 Method Not Allowed", 405, "Ask for /health with GET.", "Allow: GET, HEAD\r\n")
    return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def _error(status: str, code: int, message: str, headers: str = "") -> bytes:
    body = f'{{"code": {code}, "message": "{message}"}}'
    return (_ANSWER.format(status, len(body), f"Content-Type: application/json\r\n{headers}") + body).encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request.

    Raises:
        OSError, TimeoutError, asyncio.IncompleteReadError: the client left, or is too slow.
    """
    async with asyncio.timeout(TIMEOUT):
        try:
            reply = answer(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            reply = _error("431 Request Header Fields Too Large", 431, "The headers are too large.")
    writer.write(reply)
    async with asyncio.timeout(TIMEOUT):
        await writer.drain()


async def serve(listener: socket.socket) -> None:
    """Accept for ever, at most CONNECTIONS at a time."""
    free = asyncio.Semaphore(CONNECTIONS)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        while True:
            await free.acquire()
            connection, _ = await loop.sock_accept(listener)
            tasks.create_task(_connection(connection, free))


async def _connection(connection: socket.socket, free: asyncio.Semaphore) -> None:
    """Serve one client. Nothing that it sends or does ends more than its own connection."""
    try:
        reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT)
        try:
            await _serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()
    except OSError:
        connection.close()  # it left before we could look at it
    finally:
        free.release()


def main() -> None:
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from sandkit.guest.light import make_undumpable  # noqa: PLC0415 (found through the line above: a script has no package)

    make_undumpable()
    listener = socket.socket(fileno=0)
    listener.setblocking(False)
    asyncio.run(serve(listener))


if __name__ == "__main__":
    main()
