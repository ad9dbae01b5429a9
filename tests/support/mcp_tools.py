"""The gateway's tools for tests: a prefab in three versions, and a real client of the Model Context Protocol."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from support.platform import run as command
from support.prefabs import function, manifest, pack, publish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mcp_types import CallToolResult

    from support.platform import Platform

ACCEPT = {"Accept": "application/json, text/event-stream"}
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


TOOLS = "mcp-tools"
_SOURCE = """
import time
from pathlib import Path
VERSION = "{version}"
def tell(files: str = "") -> dict:
    return {{"version": VERSION, "files": files, "error": None}}
def lie() -> dict:
    return {{"count": "many"}}
def steps(upto: int):
    for number in range(upto):
        yield {{"type": "progress", "data": {{"progress": number + 1, "total": upto, "message": f"step {{number + 1}}"}}}}
        yield {{"type": "content", "data": f"{{number}} "}}
    yield {{"type": "progress", "data": "half an hour more"}}
    yield {{"type": "done", "data": {{"counted": upto}}}}
def drag():
    for number in range(25):
        yield {{"type": "progress", "data": number + 1}}
        time.sleep(0.2)
"""
_RETURNS = {
    "type": "object",
    "description": "what it is",
    "properties": {
        "version": {"type": "string", "description": "which"},
        "error": {"type": "string", "description": "what went wrong", "optional": True},
    },
}


def package(version: str) -> bytes:
    functions = (
        function("tell", returns=_RETURNS)
        | {"parameters": [{"name": "files", "type": "string", "description": "a word", "required": False}]},
        function("lie", returns={"type": "object", "properties": {"count": {"type": "integer", "description": "how many"}}}),
        function("steps", {"upto": "integer"}, streaming=True),
        function("drag", streaming=True),
    )
    return pack(manifest(TOOLS, *functions, version=version), _SOURCE.format(version=version))


async def publish_tools(platform: Platform) -> Platform:
    """Publish the prefab's versions, where they are not there yet."""
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        await publish(platform, package(version))
    return platform


@asynccontextmanager
async def client(platform: Platform, path: str = "/mcp", *, key: str | None = None, mode: str = "auto") -> AsyncGenerator[Client]:
    headers = {"X-API-Key": key or platform.key}
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        transport = streamable_http_client(platform.api_url + path, http_client=http)
        async with asyncio.timeout(60), Client(transport, mode=mode) as connected:
            yield connected


async def other_key(platform: Platform, owner: str) -> str:
    code, key, _ = await command("key", "create", "--data-dir", str(platform.data_dir), "--owner", owner)
    assert code == 0
    return key.strip()


def error_of(found: CallToolResult) -> dict[str, Any]:
    """Return the error of a result that must be one."""
    assert found.is_error, found
    text = found.content[0]
    assert text.type == "text"
    return json.loads(text.text)
