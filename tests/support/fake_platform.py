"""A platform that does as it is told, over real sockets: for what the real one does only when things go wrong.

    async with FakePlatform() as platform:
        platform.on("POST /sandboxes", refused(429, retry_after=0), created("i1"))

A route's answers are used up in order, the last one stays. An answer is a function of what was asked and of the line to write to;
what was asked is kept in `platform.seen`, `platform.left` counts clients that closed the connection before their answer was whole, and
`platform.connections` those that came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TEMPLATE_ID = "t0123456789"
BUILD_ID = "b0123456789"
TOKEN = "token-of-the-sandbox"
ENVELOPE = {"result": "hello", "status": "success", "duration": 0.5, "metadata": {"request_id": "r"}, "error": None}
"""What an agent answers."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Line:
    """The connection, as an answer sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closes."""

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *[f"{name}: {value}" for name, value in headers.items()]]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def begin(self, content_type: str = "text/event-stream", status: int = 200) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def part(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def cut(self) -> None:
        """End the connection as a crash does."""
        self.writer.transport.abort()


Answer = Callable[[Asked, Line], Awaitable[None]]


class FakePlatform:
    """Both planes on one port; unknown routes answer 404 in the platform's form."""

    def __init__(self) -> None:
        self.seen: list[Asked] = []
        self.left = 0
        self.connections = 0
        self._answers: dict[str, list[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_connections(self) -> int:
        """How many connections are open now, idle ones included."""
        return len(self._tasks)

    @property
    def environment(self) -> dict[str, str]:
        return {"PPIO_API_KEY": "sk-testing", "PPIO_API_URL": self.url, "PPIO_SANDBOX_URL": self.url}

    def on(self, route: str, *answers: Answer) -> None:
        """Say how `route` ("POST /sandboxes") is answered."""
        self._answers[route] = list(answers)

    def asked(self, route: str) -> list[Asked]:
        """Return what was asked of a route, in order."""
        return [asked for asked in self.seen if f"{asked.method} {asked.path}" == route]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds of what was seen."""
        async with asyncio.timeout(20):
            while not condition():
                await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._tasks.add(task)
        try:
            begun = b""
            while (asked := await _read(reader, begun)) is not None:
                self.seen.append(asked)
                self._changed()
                begun = await self._answer(asked, Line(reader, writer))
                if asked.headers.get("connection") == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._changed()
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, asked: Asked, line: Line) -> bytes:
        """Answer, and note whether the client leaves meanwhile; return what it has sent of its next request."""
        answers = self._answers.get(f"{asked.method} {asked.path}", [refused(404, "not_found", f"there is no {asked.path}")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        watching = asyncio.create_task(line.reader.read(1))
        answering = asyncio.ensure_future(answer(asked, line))
        try:
            await asyncio.wait([watching, answering], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.left += 1
                self._changed()
                line.left.set()
            await answering
        finally:
            answering.cancel()
            watching.cancel()
            await asyncio.gather(watching, answering, return_exceptions=True)
        return b"" if watching.cancelled() else watching.result()


async def _read(reader: asyncio.StreamReader, begun: bytes) -> Asked | None:
    try:
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join([part async for part in _chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(method, parts.path, parse_qs(parts.query), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


def answers(value: object = None, status: int = 200, **headers: str) -> Answer:
    """Answer with JSON (or with nothing, for None); header names are given with underscores."""
    body = b"" if value is None else json.dumps(value).encode()

    async def answer(_: Asked, line: Line) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        await line.whole(status, body, {"content-type": "application/json", "x-request-id": "req-1"} | named)

    return answer


def raw(body: bytes, status: int = 200, content_type: str = "application/json") -> Answer:
    async def answer(_: Asked, line: Line) -> None:
        await line.whole(status, body, {"content-type": content_type})

    return answer


def refused(status: int, error_code: str, message: str = "no", *, retry_after: float | None = None, **details: object) -> Answer:
    """Answer with an error of the platform."""
    body = {"code": status, "message": message, "error_code": error_code, "request_id": "req-1", "details": details}
    return answers(body, status, **({} if retry_after is None else {"retry_after": str(retry_after)}))


def created(sandbox_id: str = "i1", domain: str | None = None) -> Answer:
    body = {
        "sandboxID": sandbox_id,
        "templateID": TEMPLATE_ID,
        "clientID": "x",
        "envdVersion": "0.6.1",
        "envdAccessToken": TOKEN,
        "domain": domain,
    }
    return answers(body, 201)


def detail(sandbox_id: str = "i1", state: str = "running", life: float = 300, *, token: str | None = TOKEN) -> dict[str, Any]:
    started = datetime.now(UTC)
    return {
        "sandboxID": sandbox_id,
        "templateID": TEMPLATE_ID,
        "clientID": "x",
        "startedAt": started.isoformat(),
        "endAt": (started + timedelta(seconds=life)).isoformat(),
        "state": state,
        "cpuCount": 1,
        "memoryMB": 512,
        "diskSizeMB": 512,
        "envdVersion": "0.6.1",
        **({"envdAccessToken": token} if token else {}),
    }


def template(name: str = "hello", phase: str = "deployed", tags: tuple[str, ...] = ()) -> dict[str, Any]:
    manifest = {
        "apiVersion": "v1",
        "kind": "Agent",
        "metadata": {"name": name, "version": "1.0.0", "author": "a@example.com", "description": "says hello"},
        "spec": {"entrypoint": "agent.py", "runtime": {"timeout": 30}},
    }
    return {
        "templateID": TEMPLATE_ID,
        "buildID": BUILD_ID,
        "name": name,
        "aliases": [name],
        "names": [name],
        "tags": list(tags),
        "buildTags": ["latest"],
        "buildStatus": "ready",
        "phase": phase,
        "cpuCount": 1,
        "memoryMB": 512,
        "diskSizeMB": 512,
        "envdVersion": "0.6.1",
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-02T00:00:00Z",
        "size": 1234,
        "buildTime": 1.5,
        "metadata": {"agent": manifest},
    }


def streams(*parts: bytes, cut: bool = False) -> Answer:
    """Answer with server-sent events as given; then end, or be cut off as by a crash."""

    async def answer(_: Asked, line: Line) -> None:
        await line.begin()
        for part in parts:
            await line.part(part)
        if cut:
            line.cut()
        else:
            await line.end()

    return answer


async def never(_: Asked, line: Line) -> None:
    """Answer nothing, until the client leaves."""
    await line.left.wait()
