"""An ingress in front of hostile little servers, and a client that says exactly what it is told to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sandyard.catalog import Catalog, Route
from sandyard.domain.sandboxes import SandboxState
from sandyard.ingress import Ingress, IngressLimits
from support.dialer import LoopbackDialer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

ID, TOKEN, OWNER, KEY = "abc123", "token-of-abc123", "owner-1", "sk-" + "a1" * 20
OTHER_KEY = "sk-" + "b2" * 20
OWNERS = {KEY: OWNER, "e2b_" + KEY[3:]: OWNER, OTHER_KEY: "owner-2"}
ADDRESS = f"Host: localhost\r\nPPIO-Sandbox-Id: {ID}\r\nPPIO-Sandbox-Port: 8080\r\n".encode()
ADMITTED = ADDRESS + f"X-Access-Token: {TOKEN}\r\n".encode()
PATIENCE = 10.0


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Yard:
    """What a test holds: the ingress' port, the twin dialler and the catalog."""

    port: int
    dialer: LoopbackDialer
    catalog: Catalog
    ingress: Ingress

    def change(self, **fields: Any) -> None:
        route = self.catalog.get(ID)
        assert route is not None
        self.catalog.put(replace(route, **fields))

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(60):
                yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, raw: bytes) -> Reply:
        async with self.connect() as (reader, writer):
            writer.write(raw)
            return await read_reply(reader)

    async def everything(self, raw: bytes) -> bytes:
        """Send, and return all that comes until the ingress closes."""
        async with self.connect() as (reader, writer), asyncio.timeout(PATIENCE):
            writer.write(raw)
            return await reader.read()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        status, headers = parse_head(head)
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join([piece async for piece in read_chunks(reader)])
        else:
            body = b""
    return Reply(status, headers, body)


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield chunks; an end without the last chunk raises IncompleteReadError."""
    while True:
        size = int((await reader.readuntil(b"\r\n")).strip(), 16)
        data = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield data[:-2]


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return head and body of one request, as an honest server reads it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return head, b"".join([piece async for piece in read_chunks(reader)])
    length = lowered.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return head, await reader.readexactly(int(length or 0))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own head and body, as JSON."""
    while True:
        try:
            head, body = await read_request(reader)
        except asyncio.IncompleteReadError:
            return
        text = json.dumps({"head": head.decode("latin-1"), "body": body.decode("latin-1")}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def says(raw: bytes) -> Any:
    """Return a handler that reads one request, says `raw` and closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(raw)

    return handler


@asynccontextmanager
async def listening(handler: Any, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int, None]:
    """Serve `handler` on a loopback port, by TLS if told how; every connection of it is closed when it returns, and at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
            writer.close()
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def yard(
    handler: Any = echo,
    *,
    public: bool = False,
    owner_of: Callable[[str], str | None] = OWNERS.get,
    internal_token: Callable[[Route], str] = lambda route: f"jwt.of.{route.sandbox_id}",
    wake: Callable[[str], Awaitable[object]] | None = None,
    **limits: Any,
) -> AsyncGenerator[Yard, None]:
    """An ingress with one running sandbox whose port 8080, 3000 and guest port are `handler`."""
    catalog, dialer = Catalog(), LoopbackDialer()
    catalog.put(Route(sandbox_id=ID, owner=OWNER, agent="echo", state=SandboxState.RUNNING, access_token=TOKEN, public=public))

    async def resume(sandbox_id: str) -> None:
        route = catalog.get(sandbox_id)
        assert route is not None
        catalog.put(replace(route, state=SandboxState.RUNNING))

    ingress = Ingress(
        catalog,
        dialer,
        owner_of=owner_of,
        internal_token=internal_token,
        is_platform_key=OWNERS.__contains__,
        wake=wake or resume,
        limits=replace(IngressLimits(crash_wait=0.3, drain_timeout=0.2, linger_timeout=0.3), **limits),
    )
    async with listening(handler) as upstream:
        for port in (8080, 3000, 49983):
            dialer.open(ID, port, upstream)
        _, port = await ingress.start("127.0.0.1", 0)
        try:
            yield Yard(port, dialer, catalog, ingress)
        finally:
            await ingress.aclose()
