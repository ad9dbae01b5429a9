"""Which HTTP library should the client's pool stand on? Small JSON POSTs to a raw server on loopback.

Each library sends with one pooled client; rounds are interleaved, so that the machine's mood is shared; medians over rounds and
ratios to aiohttp are printed. Not installed libraries are left out. Speed is half of the question: `tests/unit/test_http_sender.py`
holds the other half. pyreqwest 0.15 is twice as fast as aiohttp, but leaves the connection of a cancelled call open: the agent
would work on for nobody. pyqwest 0.12 closes it and is no faster than aiohttp; its default obeys the environment's proxy.

    uv run --group bench python benchmarks/http_clients.py [--seconds 1.5] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Call = Callable[[], Awaitable[object]]
Library = Callable[[str], AbstractAsyncContextManager[Call]]

BODY = b'{"prompt":"hello","query":"hello"}'
HEADERS = {"content-type": "application/json", "x-access-token": "token"}
REPLY = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"result":"ok"}'
LEVELS = (1, 64)


class Answerer(asyncio.Protocol):
    """Answers every request with the same small JSON object."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(REPLY)


def serve(announce: Connection) -> None:
    """Run the server until the process is ended."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0)
        announce.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


@asynccontextmanager
async def use_aiohttp(url: str) -> AsyncGenerator[Call]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def call() -> object:
            async with session.post(url, data=BODY, headers=HEADERS) as reply:
                return json.loads(await reply.read())

        yield call


@asynccontextmanager
async def use_pyreqwest(url: str) -> AsyncGenerator[Call]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().no_proxy().build() as client:

        async def call() -> object:
            reply = await client.post(url).headers(HEADERS).body_bytes(BODY).build().send()
            return json.loads(bytes(await reply.bytes()))

        yield call


@asynccontextmanager
async def use_pyqwest(url: str) -> AsyncGenerator[Call]:
    import pyqwest  # pyright: ignore[reportMissingImports] (measured where someone installed it)

    client = pyqwest.Client()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    async def call() -> object:
        reply = await client.post(url, HEADERS, BODY)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return json.loads(reply.content)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    yield call


@asynccontextmanager
async def use_httpx(url: str) -> AsyncGenerator[Call]:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:

        async def call() -> object:
            reply = await client.post(url, content=BODY, headers=HEADERS)
            return json.loads(reply.content)

        yield call


LIBRARIES: dict[str, Library] = {"aiohttp": use_aiohttp, "pyreqwest": use_pyreqwest, "pyqwest": use_pyqwest, "httpx": use_httpx}


async def calls_per_second(library: Library, url: str, concurrency: int, seconds: float) -> float:
    """Return how many calls completed per second at the given number of concurrent callers."""
    done = 0

    async def caller(call: Call, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    async with library(url) as call:
        await asyncio.gather(*[call() for _ in range(concurrency)])
        start = time.perf_counter()
        await asyncio.gather(*[caller(call, start + seconds) for _ in range(concurrency)])
        return done / (time.perf_counter() - start)


def measure(url: str, seconds: float, rounds: int) -> dict[str, dict[int, list[float]]]:
    """Return calls per second by library and concurrency, one figure a round."""
    found: dict[str, dict[int, list[float]]] = {}
    for _ in range(rounds):
        for name, library in LIBRARIES.items():
            for level in LEVELS:
                with contextlib.suppress(ImportError):
                    figure = uvloop.run(calls_per_second(library, url, level, seconds))
                    found.setdefault(name, {}).setdefault(level, []).append(figure)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        found = measure(f"http://127.0.0.1:{ours.recv()}/invocations", options.seconds, options.rounds)
    finally:
        server.terminate()
        server.join()
    medians = {name: {level: statistics.median(figures) for level, figures in levels.items()} for name, levels in found.items()}
    if options.json:
        print(json.dumps(medians))
        return
    base = medians["aiohttp"]
    for name, levels in medians.items():
        print(f"{name:10}", *[f"{n:3} concurrent: {levels[n]:8.0f}/s ({levels[n] / base[n]:4.2f} of aiohttp)" for n in LEVELS], sep="   ")


if __name__ == "__main__":
    main()
