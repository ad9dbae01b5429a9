"""A new agent process: how long its first request takes, against its second; the memory of the idle process.

Each round starts a new `hello` agent, waits until it listens, and asks twice. A stall of lazy imports would show in the first.

    uv run --group bench python benchmarks/agent_start.py [--rounds 50]
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import post

MIDDLEWARE = "@app.middleware\nasync def around(request, call_next):\n    return await call_next(request)\n"
HELLO = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp
app = AgentRuntimeApp()
@app.entrypoint
async def hello(request):
    return f"hello {request['prompt']}"
"""
RUN = "app.run(port=0, host='127.0.0.1')\n"


@dataclass
class Figures:
    """Milliseconds of first and second requests, MiB of resident memory."""

    first: list[float] = field(default_factory=list[float])
    second: list[float] = field(default_factory=list[float])
    memory: list[float] = field(default_factory=list[float])


def measure(source: str, figures: Figures) -> None:
    with subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        port = int(agent.stderr.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            figures.first.append(answered(connection))
            figures.second.append(answered(connection))
        status = Path(f"/proc/{agent.pid}/status").read_text()
        figures.memory.append(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024)
        agent.terminate()


def answered(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(post("/invocations", b'{"prompt": "world"}'))
    reply = b""
    while not reply.endswith(b'"error":null}'):
        reply += connection.recv(65536)
    return (time.perf_counter() - began) * 1000


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    agents = {"hello": HELLO + RUN, "hello, one middleware": HELLO + MIDDLEWARE + RUN}
    found = {name: Figures() for name in agents}
    for _ in range(rounds):
        for name, source in agents.items():
            measure(source, found[name])
    print("| a new agent | first request, median | p99 | second request, median | idle memory (RSS) |\n|---|---|---|---|---|")
    for name, figures in found.items():
        first, second = statistics.median(figures.first), statistics.median(figures.second)
        memory = statistics.median(figures.memory)
        print(f"| {name} | {first:.2f} ms | {percentile(figures.first, 0.99):.2f} ms | {second:.2f} ms | {memory:.1f} MiB |")


if __name__ == "__main__":
    main()
