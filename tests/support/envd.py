"""A plain client of the guest's port, for the guest's tests: what it sends and gets is visible to the byte."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandyard.domain.specs import GUEST_PORT, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping

    from support.sandboxes import Rig

DEADLINE = 30.0
_LIFE = 7200.0  # seconds: one sandbox serves a whole session of tests
END = 2
FILES = "filesystem.Filesystem"
PROCESS = "process.Process"
Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Output:
    """What a stream of a process showed."""

    events: list[Json] = field(default_factory=list[Json])
    stdout: bytes = b""
    stderr: bytes = b""
    pty: bytes = b""
    error: Json | None = None

    @property
    def pid(self) -> int:
        return self.events[0]["start"]["pid"]

    @property
    def end(self) -> Json:
        return self.events[-1]["end"]

    def add(self, event: Json) -> None:
        """Data is joined, everything else is kept."""
        if "data" not in event:
            self.events.append(event)
        for name, data in event.get("data", {}).items():
            setattr(self, name, getattr(self, name) + base64.b64decode(data))


def frame(message: Any, flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, method: str, target: str, body: bytes | None = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a request; a body of None comes later, in chunks."""
        framing = {"Transfer-Encoding": "chunked"} if body is None else {"Content-Length": str(len(body))}
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: sandbox",
            *(f"{name}: {value}" for name, value in {**framing, **(headers or {})}.items()),
        ]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
        await self.writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(DEADLINE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def pieces(self, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield a body as it comes."""
        if "content-length" in headers:
            left = int(headers["content-length"])
            while left:
                data = await self._soon(self.reader.read(min(left, 1 << 20)))
                if not data:
                    raise ConnectionResetError("the body was cut short")
                left -= len(data)
                yield data
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(await self._soon(self.reader.readline()), 16):
                yield (await self._soon(self.reader.readexactly(size + 2)))[:-2]
            await self._soon(self.reader.readline())

    async def _soon(self, reading: Coroutine[Any, Any, bytes]) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await reading

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """Return the reply; header names are written with underscores."""
        await self.send(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        status, found = await self.head()
        async with asyncio.timeout(DEADLINE):
            data = b"" if method == "HEAD" else b"".join([piece async for piece in self.pieces(found)])
        return Reply(status, found, data)

    async def call(self, method: str, message: Json, **headers: str) -> Reply:
        """Make a unary call of `package.Service/Method`."""
        return await self.ask("POST", f"/{method}", json.dumps(message).encode(), Content_Type="application/json", **headers)

    async def open_stream(self, method: str, message: Json, **headers: str) -> dict[str, str]:
        """Begin a server-streaming call; return the reply's headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.send("POST", f"/{method}", frame(message), {"Content-Type": "application/connect+json", **named})
        status, found = await self.head()
        assert status == 200, (status, await self.reader.read(1000))
        return found

    async def messages(self, headers: Mapping[str, str]) -> AsyncIterator[tuple[int, Json]]:
        """Yield flags and message of each frame, as it comes."""
        kept = b""
        async for piece in self.pieces(headers):
            kept += piece
            while len(kept) >= 5 and len(kept) >= 5 + (size := struct.unpack(">I", kept[1:5])[0]):
                yield kept[0], json.loads(kept[5 : 5 + size])
                kept = kept[5 + size :]
        assert not kept

    async def stream(self, method: str, message: Json, **headers: str) -> list[tuple[int, Json]]:
        found = await self.open_stream(method, message, **headers)
        async with asyncio.timeout(DEADLINE):
            return [each async for each in self.messages(found)]

    async def output(self, method: str, message: Json, **headers: str) -> Output:
        """Follow a process to its end."""
        out = Output()
        for flags, found in await self.stream(method, message, **headers):
            if flags == END:
                out.error = found.get("error")
            else:
                out.add(found["event"])
        return out

    async def run(
        self, *command: str, stdin: bool = False, pty: tuple[int, int] | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Output:
        """Run a command, as `commands.run` of the clients does; `more` goes into `process`."""
        return await self.output(f"{PROCESS}/Start", order(*command, stdin=stdin, pty=pty, **more), **(headers or {}))

    async def shell(self, script: str, **more: Any) -> Output:
        return await self.run("/bin/bash", "-c", script, **more)

    def close(self) -> None:
        self.writer.close()


def order(*command: str, stdin: bool = False, pty: tuple[int, int] | None = None, tag: str | None = None, **more: Any) -> Json:
    """Return the message of a start."""
    message: Json = {"process": {"cmd": command[0], "args": list(command[1:]), **more}, "stdin": stdin}
    if pty is not None:
        message["pty"] = {"size": {"cols": pty[0], "rows": pty[1]}}
    return message | ({} if tag is None else {"tag": tag})


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Envd:
    """A sandbox without a command, and connections to its guest."""

    rig: Rig
    sandbox_id: str

    def server(self) -> int:
        """Return the pid of the process that serves the port, as the host numbers it; it must be running."""
        first = self.rig.first(self.sandbox_id)
        return int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])

    def memory(self, kind: str = "VmHWM") -> int:
        """Return what that process holds, or held at most, in bytes."""
        lines = Path(f"/proc/{self.server()}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1]) * 1024

    async def connect(self) -> Wire:
        sock = await self.rig.backend.connect(self.sandbox_id, GUEST_PORT)
        return Wire(*await asyncio.open_connection(sock=sock, limit=1 << 20))

    @asynccontextmanager
    async def wire(self) -> AsyncGenerator[Wire]:
        wire = await self.connect()
        try:
            yield wire
        finally:
            wire.close()
            await wire.writer.wait_closed()


@asynccontextmanager
async def envd(rig: Rig, sandbox_id: str = "clients", **changes: Any) -> AsyncGenerator[Envd]:
    """A sandbox that lives until the block ends."""
    limits = Limits(memory_bytes=512 << 20, disk_bytes=256 << 20, processes=400)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "GREETING": "hello"}
    ends_at = time.time() + _LIFE
    spec = replace(rig.spec(sandbox_id), command=(), ready_port=None, mounts=(), cwd="/", env=env, limits=limits, ends_at=ends_at)
    await rig.backend.start(replace(spec, **changes))
    try:
        yield Envd(rig, sandbox_id)
    finally:
        await rig.backend.stop(sandbox_id)
