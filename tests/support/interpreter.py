"""Sandboxes of the code interpreter for tests: the template is built once per platform, and asked for as its protocol says."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from e2b_code_interpreter import AsyncSandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from support.platform import Platform

TEMPLATE = "code-interpreter-v1"
BUILD_SECONDS = 400.0


def options(platform: Platform) -> dict[str, Any]:
    """Return what a client of e2b's is told of a platform."""
    return {"api_key": platform.env["E2B_API_KEY"], "api_url": platform.api_url, "sandbox_url": platform.sandbox_url}


async def build(platform: Platform) -> None:
    """Have the template built, as a first user does who tries again."""
    async with asyncio.timeout(BUILD_SECONDS):
        while True:
            reply = await platform.api.post("/sandboxes", json={"templateID": TEMPLATE, "timeout": 60})
            if reply.status_code != 503:
                break
    assert reply.status_code == 201, reply.text
    await platform.api.delete(f"/sandboxes/{reply.json()['sandboxID']}")


@dataclass(frozen=True)
class Interpreter:
    """One sandbox of a platform: the public client's, and its port as whoever speaks the protocol reaches it."""

    platform: Platform
    sandbox: AsyncSandbox
    token: str

    @property
    def headers(self) -> Mapping[str, str]:
        return {"E2b-Sandbox-Id": self.sandbox.sandbox_id, "E2b-Sandbox-Port": "49999"}

    @asynccontextmanager
    async def client(self, headers: Mapping[str, str] | None = None) -> AsyncGenerator[httpx.AsyncClient]:
        """Give a client of the port; `headers` replace those that name the sandbox."""
        shown = dict(self.headers if headers is None else headers)
        async with httpx.AsyncClient(base_url=self.platform.sandbox_url, headers=shown, timeout=60, trust_env=False) as client:
            yield client

    async def lines(self, code: str, headers: Mapping[str, str] | None = None, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what `/execute` says, line by line."""
        async with self.client(headers) as client, client.stream("POST", "/execute", json={"code": code, **fields}) as reply:
            assert reply.status_code == 200, await reply.aread()
            async for line in reply.aiter_lines():
                yield json.loads(line)


@asynccontextmanager
async def interpreter(platform: Platform, **fields: Any) -> AsyncGenerator[Interpreter]:
    """Start a sandbox, and end it."""
    sandbox = await AsyncSandbox.create(timeout=600, **fields, **options(platform))
    try:
        detail = (await platform.api.get(f"/sandboxes/{sandbox.sandbox_id}")).json()
        yield Interpreter(platform, sandbox, detail["envdAccessToken"])
    finally:
        await sandbox.kill()
