"""The gateway: a warm call against the same function in a child forked by hand, against a cold interpreter, and a stream's delay.

Run: `python benchmarks/gateway.py` (as root for uids and cgroups of the sandboxes' own). Prints markdown. Calls go one by one over one
connection; the three ways take turns, so that a busy machine is busy for all of them. Then 16 callers at once, each on its connection,
against 16 that start interpreters.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BIN = Path(sys.executable).parent
MILLI = 1000.0
CALLS, COLD_CALLS, EVENTS = 400, 20, 300
CALLERS, EACH, COLD_EACH, ROUNDS = 16, 25, 3, 3
PAUSE = 0.005

SOURCE = """
import time

def add(a: int, b: int) -> dict:
    return {"sum": a + b}

def paced(count: int, pause: float):
    for _ in range(count):
        time.sleep(pause)
        yield {"type": "content", "data": time.time()}
"""
BY_HAND = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import src.main
for line in sys.stdin:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(sending, json.dumps(src.main.add(**json.loads(line))).encode())
        os._exit(0)
    os.close(sending)
    answer = b""
    while data := os.read(receiving, 65536):
        answer += data
    os.close(receiving)
    os.waitpid(pid, 0)
    sys.stdout.write(answer.decode() + "\\n")
    sys.stdout.flush()
"""
IMPORTING = "import asyncio, decimal, email.message, http.client, logging.config, sqlite3, unittest.mock, urllib.request, xml.dom.minidom\n"
"""What a prefab of some size imports at least, from the standard library alone."""
COLD = "import json, sys; sys.path.insert(0, sys.argv[1]); import src.main; print(json.dumps(src.main.add(**json.loads(sys.argv[2]))))"


def parameter(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "description": name, "required": True}


MANIFEST: dict[str, Any] = {
    "schema_version": "1.0",
    "version": "1.0.0",
    "description": "what the benchmark calls",
    "entry_point": "src/main.py",
    "functions": [
        {"name": "add", "description": "add", "parameters": [parameter("a", "integer"), parameter("b", "integer")]},
        {
            "name": "paced",
            "description": "paced",
            "parameters": [parameter("count", "integer"), parameter("pause", "number")],
            "streaming": True,
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """A server with the prefab published, and one connection to it."""

    connection: http.client.HTTPConnection
    key: str

    def post(self, name: str, parameters: dict[str, Any], accept: str, prefab: str = "bench-one") -> http.client.HTTPResponse:
        call = {"prefab_id": prefab, "version": "1.0.0", "function_name": name, "inputs": {"parameters": parameters}}
        headers = {"X-API-Key": self.key, "Content-Type": "application/json", "Accept": accept}
        self.connection.request("POST", "/v1/run", json.dumps({"calls": [call]}), headers)
        return self.connection.getresponse()

    def add(self, prefab: str = "bench-one") -> None:
        answer = json.loads(self.post("add", {"a": 1, "b": 2}, "application/json", prefab).read())
        assert answer["results"][0]["output"]["output"] == {"sum": 3}, answer

    def delays(self) -> list[float]:
        """Return how long each event of a paced stream was under way, in milliseconds."""
        found: list[float] = []
        reply = self.post("paced", {"count": EVENTS, "pause": PAUSE}, "text/event-stream")
        while line := reply.readline():
            now = time.time()
            if line.startswith(b"data: ") and b'"content"' in line:
                found.append((now - json.loads(line[6:])["data"]) * MILLI)
        return found

    def another(self) -> Gateway:
        """Return the same over a connection of its own."""
        return Gateway(http.client.HTTPConnection(self.connection.host, self.connection.port, timeout=60), self.key)


@contextmanager
def gateway(root: Path, *prefabs: Path) -> Generator[Gateway]:
    data_dir = root / "data"
    serve = [str(BIN / "sandyard"), "serve", "--data-dir", str(data_dir), "--api-port", "0", "--ingress-port", "0"]
    process = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise RuntimeError(f"sandyard serve ended with {process.wait()}")
        for prefab in prefabs:
            publish = [str(BIN / "sandyard"), "prefab", "publish", str(prefab), "--data-dir", str(data_dir)]
            subprocess.run(publish, check=True, stdout=subprocess.DEVNULL)
        info = json.loads((data_dir / "server.json").read_text())
        yield Gateway(
            http.client.HTTPConnection(info["api_url"].removeprefix("http://"), timeout=60), (data_dir / "secrets" / "api_key").read_text()
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def forked_by_hand(prefab: Path) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-B", "-c", BY_HAND, str(prefab)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def ask(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"a": 1, "b": 2}\n')
    process.stdin.flush()
    assert process.stdout.readline() == '{"sum": 3}\n'


def timed(work: Any, into: list[float]) -> None:
    began = time.perf_counter()
    work()
    into.append((time.perf_counter() - began) * MILLI)


def at_once(works: list[Callable[[], None]], each: int) -> float:
    """Return the calls per second of callers that each call so often, all at once."""

    def call(work: Callable[[], None]) -> None:
        for _ in range(each):
            work()

    began = time.perf_counter()
    with ThreadPoolExecutor(len(works)) as threads:
        list(threads.map(call, works))
    return len(works) * each / (time.perf_counter() - began)


def crowds(ours: Gateway, prefab: Path, found: dict[str, list[float]]) -> None:
    """Note the rates of callers at once, in turns."""
    for _ in range(ROUNDS):
        callers = [ours.another() for _ in range(CALLERS)]
        warm: list[Callable[[], None]] = [partial(caller.add, prefab.name) for caller in callers]
        at_once(warm, 2)
        found["warm"].append(at_once(warm, EACH))
        for caller in callers:  # idle ones would be hung up on
            caller.connection.close()
        found["cold"].append(at_once([lambda: cold(prefab)] * CALLERS, COLD_EACH))


def write(directory: Path, source: str) -> Path:
    (directory / "src").mkdir(parents=True)
    (directory / "src/main.py").write_text(source)
    (directory / "prefab-manifest.json").write_text(json.dumps(MANIFEST | {"id": directory.name, "name": directory.name}))
    return directory


def cold(prefab: Path) -> None:
    command = [sys.executable, "-I", "-B", "-c", COLD, str(prefab), '{"a": 1, "b": 2}']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    names = ("warm", "by hand", "cold", "warm, importing", "cold, importing")
    laps: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="sandyard-bench-") as name:
        small, importing = write(Path(name, "bench-one"), SOURCE), write(Path(name, "bench-two"), IMPORTING + SOURCE)
        with gateway(Path(name), small, importing) as ours, forked_by_hand(small) as theirs:
            for _ in range(20):
                ours.add()
                ours.add("bench-two")
                ask(theirs)
            for number in range(CALLS):
                timed(ours.add, laps["warm"])
                timed(lambda: ask(theirs), laps["by hand"])
                timed(lambda: ours.add("bench-two"), laps["warm, importing"])
                if number % (CALLS // COLD_CALLS) == 0:
                    timed(lambda: cold(small), laps["cold"])
                    timed(lambda: cold(importing), laps["cold, importing"])
            delays = ours.delays()
            rates: dict[str, dict[str, list[float]]] = {prefab.name: {"warm": [], "cold": []} for prefab in (small, importing)}
            for prefab in (small, importing):
                crowds(ours, prefab, rates[prefab.name])
    report(laps, delays)
    report_crowds(rates)


def report(laps: dict[str, list[float]], delays: list[float]) -> None:
    rows = {
        "warm call through the gateway": laps["warm"],
        "the same in a child forked by hand": laps["by hand"],
        "a cold interpreter": laps["cold"],
        "warm call of a prefab that imports nine modules of the standard library": laps["warm, importing"],
        "a cold interpreter that imports them": laps["cold, importing"],
        "delay of a stream's event": delays,
    }
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n| | median ms | p90 |\n|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | {statistics.median(values):.2f} | {statistics.quantiles(values, n=10)[-1]:.2f} |")
    median = {name: statistics.median(values) for name, values in laps.items()}
    print(f"\noverhead over the forked child: {median['warm'] - median['by hand']:.2f} ms (promised: 4)")
    print(f"calls of a cold interpreter: {median['cold'] / median['warm']:.1f} times; importing: ", end="")
    print(f"{median['cold, importing'] / median['warm, importing']:.1f} times (promised: 10)")


def report_crowds(rates: dict[str, dict[str, list[float]]]) -> None:
    print(f"\n| {CALLERS} callers at once | calls/s | cold interpreters/s | times |\n|---|---|---|---|")
    for name, ways in rates.items():
        warm, cold_ones = (statistics.median(ways[way]) for way in ("warm", "cold"))
        print(f"| {name} | {warm:.0f} | {cold_ones:.0f} | {warm / cold_ones:.1f} |")


if __name__ == "__main__":
    main()
