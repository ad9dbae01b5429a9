"""Agents as real processes on real sockets, and callers that see each byte when it comes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from anyio.abc import ByteReceiveStream, Process, SocketStream
    from websockets.asyncio.client import ClientConnection

WAIT_SECONDS = 20.0


@dataclass
class Answer:
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[sse.Event]:
        return sse.Decoder().feed(self.body)


class Call:
    """One request on its own connection; `read_until` sees what has come so far."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.seen = b""

    async def read_until(self, marker: bytes) -> bytes:
        with anyio.fail_after(WAIT_SECONDS):
            while marker not in self.seen:
                self.seen += await self.stream.receive()
        return self.seen

    async def answer(self) -> Answer:
        with anyio.fail_after(WAIT_SECONDS), contextlib.suppress(anyio.EndOfStream):
            while True:
                self.seen += await self.stream.receive()
        head, _, body = self.seen.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split()[1]), headers, _unchunked(body) if "transfer-encoding" in headers else body)


@dataclass
class Agent:
    """A served agent: what it prints on standard output are its words to the test."""

    process: Process
    port: int
    heard: str = ""

    @contextlib.asynccontextmanager
    async def call(
        self, body: bytes | Any = b"", *, method: str = "POST", path: str = "/invocations", **headers: str
    ) -> AsyncGenerator[Call]:
        payload = body if isinstance(body, bytes) else orjson.dumps(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: agent", "Connection: close", f"Content-Length: {len(payload)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send("\r\n".join([*lines, "", ""]).encode() + payload)
            yield Call(stream)

    async def post(self, body: Any, **headers: str) -> Answer:
        async with self.call(body, **headers) as call:
            return await call.answer()

    async def get(self, path: str, method: str = "GET") -> Answer:
        async with self.call(method=method, path=path) as call:
            return await call.answer()

    async def says(self, word: str) -> None:
        """Wait until the agent has printed `word`."""
        assert self.process.stdout is not None
        with anyio.fail_after(WAIT_SECONDS):
            while word not in self.heard:
                self.heard += (await self.process.stdout.receive()).decode()


async def close_code(socket: ClientConnection) -> int:
    """Wait until the agent closes the WebSocket, without a further message; return the code that it gives."""
    with anyio.fail_after(WAIT_SECONDS), pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@contextlib.asynccontextmanager
async def serving(source: str, directory: Path, **environment: str) -> AsyncGenerator[Agent]:
    """Run `source`, the text of an agent that ends with `app.run()`, until the block ends."""
    path = directory / "agent.py"
    path.write_text(source)
    env = {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": "0", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error", **environment}
    async with await anyio.open_process([sys.executable, str(path)], env=env, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stderr is not None
            line = await _line_with(process.stderr, "listens on")
            async with anyio.create_task_group() as group:
                group.start_soon(_drain, process.stderr)
                yield Agent(process, int(line.rpartition(":")[2]))
                group.cancel_scope.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _line_with(stream: ByteReceiveStream, word: str) -> str:
    text = ""
    with anyio.fail_after(WAIT_SECONDS):
        while True:
            text += (await stream.receive()).decode()
            for line in text.split("\n")[:-1]:
                if word in line:
                    return line


async def _drain(stream: ByteReceiveStream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            await stream.receive()


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole, body = whole + rest[:length], rest[length + 2 :]
    raise AssertionError(f"the reply was cut off after {whole[-200:]!r}")
