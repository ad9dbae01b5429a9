"""What the abuse cases share: their prefab, keys of other tenants, requests as no client would write them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from support.platform import run as command
from support.prefabs import function, manifest, pack

if TYPE_CHECKING:
    from support.platform import Platform

ABUSE = "abuse-kit"
SECRET = "ABUSE_TOKEN"
INSTRUCTIONS = "Ask the operator of the tests"


def abuse_kit() -> bytes:
    """Return the package of `abuse_kit.py`."""
    need = {"name": SECRET, "description": "a secret", "instructions": INSTRUCTIONS, "required": True}
    functions = (
        function("tell_token"),
        function("hold", {"seconds": "number"}, streaming=True),
        function("use", {"how": "string"}, secrets=[need]),
        function("leak_events", streaming=True, secrets=[need]),
        function("optional", secrets=[need | {"required": False}]),
        function("connect", {"targets": "array", "paths": "array"}),
    )
    return pack(manifest(ABUSE, *functions), Path(__file__).with_name("abuse_kit.py").read_text())


async def key_of(platform: Platform, owner: str) -> str:
    """Return a new API key of a tenant."""
    return (await sandyard(platform, "key", "create", "--owner", owner)).strip()


async def sandyard(platform: Platform, *arguments: str) -> str:
    """Run a command on the platform's data directory; return what it prints."""
    code, out, err = await command(*arguments, "--data-dir", str(platform.data_dir))
    assert code == 0, err
    return out


async def raw(platform: Platform, *pieces: bytes, seconds: float = 15.0) -> bytes:
    """Send bytes as they are; return all that comes until the server closes, or nothing more comes for `seconds`."""
    place = urlsplit(platform.api_url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    got = bytearray()
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65536):
                got += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return bytes(got)


def statuses(answer: bytes) -> list[int]:
    """Return the status of each response in what a server sent."""
    return [int(line.split(b" ")[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def detail(reply: Any, status: int, code: str) -> dict[str, Any]:
    """Return the error of a reply, which must have this status and code and the contract's form (#96)."""
    assert reply.status_code == status, reply.text
    found = reply.json()["detail"]
    assert found["error_code"] == code, found
    assert found["request_id"] == reply.headers["x-request-id"]
    assert found["message"]
    for trace in ("Traceback", "site-packages", "/root/", "sqlite", "SELECT "):
        assert trace not in reply.text
    return found
