"""Both clients of the gateway behind one face, so that a test holds for both; and answers as a gateway gives them, good and bad."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imageio_ffmpeg import get_ffmpeg_exe

from gateway_sdk import AsyncEventStream, AsyncGatewayClient, EventStream, GatewayClient, StreamEvent
from support.fake_platform import Answer, Asked, Line, answers
from support.platform import run
from support.prefabs import publish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.platform import Platform

Kind = Literal["sync", "async"]
PREFABS = Path(__file__).resolve().parents[2] / "examples" / "prefabs"
RUN = "POST /v1/internal/run"
CONVERT = "POST /v1/auth/convert_to_internal_token"
LINK = "GET /internal/files/download"


class Face:
    """A client, called by the names of its methods. The synchronous one runs in a thread."""

    def __init__(self, client: GatewayClient | AsyncGatewayClient) -> None:
        self.client = client

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        method: Any = getattr(self.client, name)
        if isinstance(self.client, GatewayClient):
            return await asyncio.to_thread(method, *arguments, **options)
        return await method(*arguments, **options)

    async def run(self, **options: Any) -> Any:
        """Call a function of which nothing matters."""
        return await self.call("run", "some-prefab", "1.0.0", "work", {}, **options)

    async def stream(self, most: int | None = None, **options: Any) -> list[StreamEvent]:
        """Return the events of a call, at most so many; then the loop is left."""
        return await self._read(self.client.run("some-prefab", "1.0.0", "work", {}, stream=True, **options), most)

    async def follow(self, job_id: str, after: int = 0, most: int | None = None) -> list[StreamEvent]:
        """Return the events of a job in the same way."""
        return await self._read(self.client.job_events(job_id, after), most)

    @staticmethod
    async def _read(stream: EventStream | AsyncEventStream, most: int | None) -> list[StreamEvent]:
        if isinstance(stream, EventStream):
            return await asyncio.to_thread(list, islice(stream, most))
        found: list[StreamEvent] = []
        async for event in stream:
            found.append(event)
            if len(found) == most:
                break
        return found


@asynccontextmanager
async def face(kind: Kind, base_url: str, **options: Any) -> AsyncGenerator[Face]:
    """Give a client of that kind, closed in the end."""
    if kind == "async":
        async with AsyncGatewayClient(base_url=base_url, **options) as client:
            yield Face(client)
        return
    with GatewayClient(base_url=base_url, **options) as client:
        yield Face(client)


def succeeded(output: object = None, files: dict[str, list[str]] | None = None) -> Answer:
    """Answer a run of one call with success."""
    envelope = {"status": "SUCCESS", "output": output or {}, "files": files or {}}
    return answers({"job_id": "j1", "status": "COMPLETED", "results": [{"status": "SUCCESS", "output": envelope, "error": None}]})


def refuses(status: int, code: str | None = None, message: str = "no", *, retry_after: str | None = None, **details: object) -> Answer:
    """Answer with an error of the gateway."""
    detail = {"message": message, "request_id": "req-9", **details} | ({} if code is None else {"error_code": code})
    return answers({"detail": detail}, status, **({} if retry_after is None else {"retry_after": retry_after}))


def token(text: str = "token-1", expires_in: float = 3600) -> Answer:
    return answers({"internal_token": text, "token_type": "internal", "expires_in": expires_in})


def event(kind: str, data: object = None, **more: object) -> bytes:
    return b"data: " + json.dumps({"type": kind, "data": data, **more}).encode() + b"\n\n"


def sends(body: bytes, *, announced: int | None = None, status: int = 200) -> Answer:
    """Answer with bytes; announce more of them than come, and the connection is cut."""

    async def answer(_: Asked, line: Line) -> None:
        line.writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body) if announced is None else announced}\r\n\r\n".encode() + body)
        await line.writer.drain()
        if announced is not None:
            line.cut()

    return answer


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def make_clip(path: Path, seconds: int = 2) -> Path:
    """Write a real film: moving colours and a tone."""
    sources = ("-f", "lavfi", "-i", f"testsrc=size=160x120:rate=10:duration={seconds}", "-f", "lavfi", "-i", f"sine=440:duration={seconds}")
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-y", *sources, "-c:v", "mpeg4", "-c:a", "aac", "-shortest", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


async def allow_calls(platform: Platform, owner: str, calls: int) -> None:
    """Give a tenant so many calls, for ever."""
    code, out, err = await run("quota", "set", str(calls), "--per", "ever", "--owner", owner, "--data-dir", str(platform.data_dir))
    assert code == 0, out + err


async def store_secret(platform: Platform, prefab_id: str, name: str, value: str, *, key: str | None = None) -> None:
    """Store a secret for the owner of a key."""
    headers = {"X-API-Key": key or platform.key}
    reply = await platform.api.put(f"/v1/prefabs/{prefab_id}/secrets/{name}", json={"value": value}, headers=headers)
    assert reply.status_code == 204, reply.text


async def publish_examples(platform: Platform, *names: str) -> None:
    """Publish prefabs of `examples/prefabs` for everyone, side by side, and wait for their builds."""
    await asyncio.gather(*[publish(platform, _packed(PREFABS / name), visibility="public") for name in names])


def _packed(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(directory))
    return buffer.getvalue()
