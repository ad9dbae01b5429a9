"""A real MCP server with a few tools: `python -m agentapps.tool_server sse|streamable-http|stdio [--port N] [--name who]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from mcp.server.fastmcp import FastMCP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import Process

TESTS = Path(__file__).parents[1]


def build(name: str, port: int) -> FastMCP:
    server = FastMCP(name, host="127.0.0.1", port=port, log_level="CRITICAL")

    @server.tool()
    def search(query: str) -> str:
        """Search."""
        return f"{name} found {query}"

    @server.tool()
    async def slow(seconds: float) -> str:
        """Take a while."""
        Path(os.environ.get("SLOW_BEGAN", os.devnull)).write_text("began")
        await asyncio.sleep(seconds)
        return "done"

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ValueError("the tool's own words")

    if name == "other":

        @server.tool()
        def only_here() -> str:
            """Say that it is there."""
            return "here"

    return server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("transport")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="tools")
    told = parser.parse_args()
    build(told.name, told.port).run(told.transport)


class ToolServer:
    """The server as a process that can be killed and started again on the same port."""

    def __init__(self, transport: str, port: int, name: str = "tools") -> None:
        self.transport = transport
        self.port = port
        self.name = name
        self.began = TESTS
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{'sse' if self.transport == 'sse' else 'mcp'}"

    async def start(self, **environment: str) -> None:
        command = [sys.executable, "-m", "agentapps.tool_server", self.transport, "--port", str(self.port), "--name", self.name]
        env = {**os.environ, "PYTHONPATH": str(TESTS), **environment}
        self._process = await anyio.open_process(command, env=env, stdin=subprocess.DEVNULL, stdout=None, stderr=None)
        with anyio.fail_after(30):
            while True:
                with contextlib.suppress(OSError):
                    async with await anyio.connect_tcp("127.0.0.1", self.port):
                        return
                await anyio.sleep(0.02)

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            await self._process.aclose()
            self._process = None


@contextlib.asynccontextmanager
async def tool_server(transport: str, port: int, name: str = "tools", **environment: str) -> AsyncGenerator[ToolServer]:
    server = ToolServer(transport, port, name)
    await server.start(**environment)
    try:
        yield server
    finally:
        await server.kill()


if __name__ == "__main__":
    main()
