"""What a call through the client costs beside the same call with httpx; how fast events are read; what importing the client takes.

Calls go to one raw server (that of `http_clients.py`), which answers at once: what is measured is the caller. Rounds are interleaved.

    uv run --group bench python benchmarks/agent_client.py [--seconds 1.0] [--rounds 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvloop
from harness import Subject, table
from http_clients import BODY, HEADERS, calls_per_second, serve

from ppio_sandbox.agent_runtime import client as ppio
from ppio_sandbox.agent_runtime.client.sandbox import Sandbox
from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from http_clients import Call, Library

REQUEST = {"prompt": "hello", "query": "hello"}
EVENTS = 20_000
STREAM = b"".join(sse.encode(b'{"token": "hello", "number": %d}' % number) for number in range(EVENTS))
PIECE = 16_384


@asynccontextmanager
async def use_sandyard(url: str) -> AsyncGenerator[Call]:
    async with ppio.AgentRuntimeClient("sk-benchmark", url, config=ppio.ClientConfig(sandbox_url=url)) as client:
        session = ppio.SandboxSession("hello", Sandbox("i1", client.platform.addresses, "token"), client)
        yield lambda: session.invoke(REQUEST)


@asynccontextmanager
async def use_httpx(url: str) -> AsyncGenerator[Call]:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def call() -> Any:
            return (await client.post(f"{url}/invocations", content=BODY, headers=HEADERS)).json()

        yield call


def one_by_one(call: Callable[[], object], seconds: float) -> float:
    """Return how many calls a second a plain caller makes, one after the other."""
    call()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        call()
        done += 1
    return done / (time.perf_counter() - began)


def synchronous(url: str, seconds: float) -> float:
    with ppio.SyncAgentRuntimeClient("sk-benchmark", url, config=ppio.ClientConfig(sandbox_url=url)) as client:
        session = ppio.SyncSandboxSession("hello", Sandbox("i1", client.platform.addresses, "token"), client)
        return one_by_one(lambda: session.invoke(REQUEST), seconds)


def plain_httpx(url: str, seconds: float) -> float:
    with httpx.Client(trust_env=False) as client:
        return one_by_one(lambda: client.post(f"{url}/invocations", content=BODY, headers=HEADERS).json(), seconds)


def ours_read(pieces: list[bytes]) -> int:
    decoder = sse.Decoder()
    return sum(len(decoder.feed(piece)) for piece in pieces)


def httpx_sse_read(pieces: list[bytes]) -> int:
    from httpx_sse import EventSource

    response = httpx.Response(200, headers={"content-type": sse.MEDIA_TYPE}, content=iter(pieces))
    return sum(1 for _ in EventSource(response).iter_sse())


def events_per_second(read: Callable[[list[bytes]], int]) -> float:
    pieces = [STREAM[at : at + PIECE] for at in range(0, len(STREAM), PIECE)]
    began = time.perf_counter()
    if read(pieces) != EVENTS:
        raise RuntimeError(f"{read.__name__} lost events")
    return EVENTS / (time.perf_counter() - began)


def concurrent(url: str, level: int, seconds: float) -> dict[str, Callable[[], float]]:
    def rate(library: Library) -> float:
        return uvloop.run(calls_per_second(library, url, level, seconds))

    return {"sandyard, session.invoke": lambda: rate(use_sandyard), "httpx": lambda: rate(use_httpx)}


def import_milliseconds(module: str) -> float:
    """Return what importing `module` takes in a new interpreter, without the interpreter's own start."""
    program = f"import time; began = time.perf_counter(); import {module}; print((time.perf_counter() - began) * 1000)"
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def compared(title: str, unit: str, rounds: int, ways: dict[str, Callable[[], float]], base: str) -> None:
    subjects = {name: Subject(name, 0) for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            subjects[name].rounds.append(measure())
    print(table(title, unit, list(subjects.values()), subjects[base]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}"
        for level in (1, 64):
            compared(f"calls, {level} concurrent", "calls/s", told.rounds, concurrent(url, level, told.seconds), "httpx")
        plain = {
            "sandyard, SyncSandboxSession.invoke": lambda: synchronous(url, told.seconds),
            "httpx": lambda: plain_httpx(url, told.seconds),
        }
        compared("synchronous calls, one by one", "calls/s", told.rounds, plain, "httpx")
    finally:
        server.terminate()
        server.join()
    readers = {"sandyard": lambda: events_per_second(ours_read), "httpx-sse": lambda: events_per_second(httpx_sse_read)}
    compared("server-sent events read", "events/s", told.rounds, readers, "httpx-sse")
    for module in ("ppio_sandbox.agent_runtime.client", "ppio_sandbox.agent_runtime.runtime", "ppio_sandbox.agent_runtime"):
        print(f"import {module}: {statistics.median(import_milliseconds(module) for _ in range(told.rounds)):.0f} ms")


if __name__ == "__main__":
    main()
