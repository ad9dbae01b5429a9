"""The ingress beside nginx, a FastAPI + httpx proxy and no proxy at all: requests/s, and the delay of a paced stream's chunks.

Run `python benchmarks/ingress.py`. One process each for upstream and proxy, load from here, rounds interleaved, medians. Ratios
travel, absolutes do not. nginx is measured where its binary is installed (Debian: nginx-light).
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection

SANDBOX, TOKEN, OWNER = "i0123456789abcdefghij", "t" * 40, "owner"
HEADERS = (
    f"Host: 127.0.0.1\r\nPPIO-Sandbox-Id: {SANDBOX}\r\nPPIO-Sandbox-Port: 8080\r\nX-Access-Token: {TOKEN}\r\n"
    "User-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\n"
)
QUESTION = b'{"input": {"prompt": "hello"}}'
ANSWER = b'{"result": {"text": "hello"}, "status": "success", "duration": 0.001, "metadata": {"request_id": "0"}}'
CALL = f"POST /invocations HTTP/1.1\r\n{HEADERS}Content-Length: {len(QUESTION)}\r\n\r\n".encode() + QUESTION
LISTEN = f"GET /stream HTTP/1.1\r\n{HEADERS}\r\n".encode()
PACE = 0.005


class Upstream(asyncio.Protocol):
    """Answers POST with a small JSON, GET with chunks that carry the time at which they were written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer.startswith(b"GET"):
            self.buffer = b""
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.transport.write(head)
            self.tick()
        elif self.buffer.endswith(QUESTION):
            self.buffer = b""
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
            self.transport.write(head + ANSWER)

    def tick(self) -> None:
        if self.transport.is_closing():
            return
        event = b"data: %020d\n\n" % time.perf_counter_ns()
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        asyncio.get_running_loop().call_later(PACE, self.tick)


async def serve_upstream(ready: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_ingress(ready: Connection, upstream: int) -> None:
    from sandyard.catalog import Catalog, Route
    from sandyard.domain.sandboxes import SandboxState
    from sandyard.ingress import Ingress

    class Dialer:
        async def connect(self, sandbox_id: str, port: int) -> socket.socket:
            del sandbox_id, port
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", upstream))
            return sock

    catalog = Catalog()
    catalog.put(Route(sandbox_id=SANDBOX, owner=OWNER, agent="bench", state=SandboxState.RUNNING, access_token=TOKEN))
    token = "x" * 300
    ingress = Ingress(
        catalog,
        Dialer(),
        owner_of=lambda _: None,
        internal_token=lambda _: token,
        is_platform_key=lambda _: False,
        wake=lambda _: asyncio.sleep(0),
    )
    ready.send((await ingress.start("127.0.0.1", 0))[1])
    await asyncio.Event().wait()


async def serve_fastapi(ready: Connection, upstream: int) -> None:
    import httpx
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse

    app = FastAPI()
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{upstream}", timeout=60)

    async def forward(path: str, request: Request) -> StreamingResponse:
        outgoing = client.build_request(request.method, "/" + path, headers=request.headers.raw, content=await request.body())
        reply = await client.send(outgoing, stream=True)
        headers = {name: value for name, value in reply.headers.items() if name != "transfer-encoding"}
        return StreamingResponse(reply.aiter_raw(), reply.status_code, headers)

    forward.__annotations__.update(path=str, request=Request, **{"return": StreamingResponse})  # strings do not resolve here
    app.api_route("/{path:path}", methods=["GET", "POST"], response_model=None)(forward)
    sock = socket.create_server(("127.0.0.1", 0))
    ready.send(sock.getsockname()[1])
    await uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).serve([sock])


def run(target: Callable[..., object], *args: object) -> None:
    uvloop.run(target(*args))  # pyright: ignore[reportArgumentType]


@contextmanager
def process(target: Callable[..., object], *args: int) -> Generator[int, None, None]:
    """Run a server in a process of its own; yield its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=run, args=(target, theirs, *args), daemon=True)
    child.start()
    try:
        if not ours.poll(30):
            message = f"{target.__name__} did not start"
            raise RuntimeError(message)
        yield ours.recv()
    finally:
        child.terminate()
        child.join(10)


NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  upstream agent {{ server 127.0.0.1:{upstream}; keepalive 128; }}
  server {{ listen 127.0.0.1:{port}; keepalive_requests 10000000;
    location / {{ proxy_pass http://agent; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""


@contextmanager
def nginx(binary: str, upstream: int) -> Generator[int, None, None]:
    """Run nginx with one worker; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        config = Path(directory) / "nginx.conf"
        config.write_text(NGINX.format(dir=directory, upstream=upstream, port=port))
        child = subprocess.Popen([binary, "-c", str(config), "-p", directory])
        try:
            wait_for(port)
            yield port
        finally:
            child.terminate()
            child.wait(10)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    message = f"nothing listens on {port}"
    raise RuntimeError(message)


class Caller(asyncio.Protocol):
    """Calls, waits for the whole answer, calls again."""

    def __init__(self) -> None:
        self.answers = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(CALL)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        if data.endswith((ANSWER, b"\r\n0\r\n\r\n")):
            self.buffer = b""
            self.answers += 1
            self.transport.write(CALL)
        else:
            self.buffer = data


async def throughput(port: int, connections: int, seconds: float) -> float:
    """Return answers per second."""
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.sleep(seconds / 5)
    before, began = sum(caller.answers for caller in callers), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(caller.answers for caller in callers) - before) / (time.perf_counter() - began)
    for caller in callers:
        caller.transport.abort()
    return rate


async def chunk_delay(port: int, chunks: int) -> float:
    """Return the median time from writing a chunk upstream to reading it here, in microseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(LISTEN)
    delays: list[float] = []
    async with asyncio.timeout(30):
        while len(delays) < chunks:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: "):
                delays.append((time.perf_counter_ns() - int(line[6:])) / 1000)
    writer.close()
    return statistics.median(delays[5:])


@dataclass
class Figures:
    rates: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    delays: list[float] = field(default_factory=list[float])


def measure(ports: dict[str, int], *, rounds: int, seconds: float, chunks: int) -> dict[str, Figures]:
    figures = {name: Figures() for name in ports}
    for _ in range(rounds):
        for connections in (16, 64):
            for name, port in ports.items():
                rate = uvloop.run(throughput(port, connections, seconds))
                figures[name].rates.setdefault(connections, []).append(rate)
        for name, port in ports.items():
            figures[name].delays.append(uvloop.run(chunk_delay(port, chunks)))
    return figures


def report(figures: dict[str, Figures]) -> None:
    rates = {name: {n: statistics.median(values) for n, values in found.rates.items()} for name, found in figures.items()}
    direct = statistics.median(figures["direct"].delays)
    print("| | requests/s at 16 | of nginx | requests/s at 64 | of nginx | chunk delay over direct, us |")
    print("|---|---|---|---|---|---|")
    for name, found in figures.items():
        cells = [
            f"{rate:,.0f} | {rate / rates['nginx'][n]:.2f}" if "nginx" in rates else f"{rate:,.0f} | -" for n, rate in rates[name].items()
        ]
        print(f"| {name} | {' | '.join(cells)} | {statistics.median(found.delays) - direct:+.0f} |")
    for n in (16, 64):
        print(f"\nSandyard over FastAPI + httpx at {n}: {rates['sandyard'][n] / rates['FastAPI + httpx'][n]:.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--chunks", type=int, default=300)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        upstream = stack.enter_context(process(serve_upstream))
        ports = {"direct": upstream, "sandyard": stack.enter_context(process(serve_ingress, upstream))}
        ports["FastAPI + httpx"] = stack.enter_context(process(serve_fastapi, upstream))
        binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if binary is None:
            print("nginx is not installed (Debian: nginx-light): its rows are skipped")
        else:
            ports["nginx"] = stack.enter_context(nginx(binary, upstream))
        report(measure(ports, rounds=arguments.rounds, seconds=arguments.seconds, chunks=arguments.chunks))


if __name__ == "__main__":
    main()
