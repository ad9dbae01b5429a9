"""What the benchmarks share: servers as processes, load over raw sockets, interleaved rounds, medians, ratios, a table.

Ratios travel between machines, absolutes do not; rounds of all subjects are interleaved, so that a neighbour's noise hits all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

START_SECONDS = 30.0


@dataclass
class Subject:
    """One thing that is measured: `figure(subject)` of each round goes to `rounds`."""

    name: str
    port: int
    rounds: list[float] = field(default_factory=list[float])
    pid: int = 0
    costs: list[float] = field(default_factory=list[float])
    """Microseconds of the server's CPU time for one unit, of each round: where neighbours are noisy they say more than rates."""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(arguments: Sequence[str], port: int) -> Generator[int]:
    """Run a Python program that listens on `port` of the loopback, until the block ends; give its process id.

    Raises:
        TimeoutError: it does not listen within `START_SECONDS`.
    """
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(process, port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on {port}: {process.args!r}, exit status {process.poll()}")


def post(path: str, body: bytes) -> bytes:
    """Return a whole HTTP/1.1 request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def interleave(subjects: Sequence[Subject], figure: Callable[[Subject], float], rounds: int) -> None:
    """Measure each subject `rounds` times, in turns that begin with another one each time; one round before that warms up."""
    for subject in subjects:
        figure(subject)
    for number in range(rounds):
        shift = number % len(subjects)
        for subject in [*subjects[shift:], *subjects[:shift]]:
            subject.rounds.append(figure(subject))


def requests_per_second(port: int, request: bytes, connections: int, seconds: float) -> float:
    """Return how many replies of status 200 `connections` keep-alive connections get per second, each asking one at a time."""
    return uvloop.run(_load(port, request, connections, seconds)) / seconds


async def _load(port: int, request: bytes, connections: int, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(lambda: _Caller(request), "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.sleep(seconds)
    done = sum(caller.replies for caller in callers)
    for caller in callers:
        caller.transport.close()
    if failed := next((caller.failed for caller in callers if caller.failed), None):
        raise RuntimeError(f"port {port} answered {failed[:300]!r}")
    return done


class _Caller(asyncio.Protocol):
    """Sends the request again as soon as the whole reply (with a Content-Length) is there."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.replies = 0
        self.failed = b""
        self._reply = b""
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._reply = self._reply + data if self._reply else data
        if not self._length:
            self._length = self._whole_length()
        if not self._length or len(self._reply) < self._length:
            return
        if self._reply.startswith(b"HTTP/1.1 200"):
            self.replies += 1
            self._reply, self._length = b"", 0
            self.transport.write(self.request)
        else:
            self.failed = self._reply

    def _whole_length(self) -> int:
        end = self._reply.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = self._reply[:end].lower()
        return end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far (Linux)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def bytes_until_close(port: int, request: bytes) -> tuple[float, bytes]:
    """Return the seconds from the request to the end of a chunked reply, and the reply as it came."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        began = time.perf_counter()
        connection.sendall(request)
        parts: list[bytes] = []
        while part := connection.recv(262_144):
            parts.append(part)
            if part.endswith(b"0\r\n\r\n"):
                break
        return time.perf_counter() - began, b"".join(parts)


def table(title: str, unit: str, subjects: Sequence[Subject], base: Subject) -> str:
    """Return a markdown table: the median, its spread, and the ratio to `base`."""
    rows = [f"### {title}", "", f"| | {unit}, median | lowest to highest | ratio |", "|---|---|---|---|"]
    for subject in subjects:
        spread = f"{min(subject.rounds):,.0f} to {max(subject.rounds):,.0f}"
        rows.append(f"| {subject.name} | {subject.median:,.0f} | {spread} | {subject.median / base.median:.2f} |")
    return "\n".join(rows) + "\n"
