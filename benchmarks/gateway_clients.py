"""gateway_sdk against an httpx client made for each call, and the memory and speed of large files.

Run: `python benchmarks/gateway_clients.py [MiB]`. Prints markdown. The gateway of the calls is a raw server that answers at once, so that
the clients are what is measured; files go through a real platform (memory back end) on this machine's disk.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from harness import free_port, served

from gateway_sdk import GatewayClient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BIN = Path(sys.executable).parent
ROUNDS, SLOW_ROUNDS, CALLS, SLOW_CALLS = 5, 3, 300, 20
MEBI = 2**20
RESULT = {
    "job_id": "j",
    "status": "COMPLETED",
    "results": [{"status": "SUCCESS", "output": {"output": {"x": 1}, "status": "SUCCESS"}, "error": None}],
}
SERVER = """
import asyncio, sys
body = sys.argv[2].encode()
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body
class Door(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        head, end, rest = self.data.partition(b"\\r\\n\\r\\n")
        if end:
            size = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0])
            if len(rest) >= size:
                self.data = rest[size:]
                self.transport.write(answer)
async def main():
    server = await asyncio.get_running_loop().create_server(Door, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


def main() -> None:
    """Measure and print."""
    mebi = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    calls()
    with platform() as (url, key):
        files(url, key, mebi)
    with seaweed() as (endpoint, bucket):
        for way, options in (("to the bucket itself", ""), ("through the gateway (presign=off)", "&presign=off")):
            with platform("--blobs", f"s3://{bucket}?endpoint={endpoint}{options}") as (url, key):
                beside_seaweed(way, (url, key), (endpoint, bucket), mebi)


def calls() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        served(["-c", SERVER, str(port), json.dumps(RESULT)], port),
        GatewayClient(base_url=url, internal_token="t") as client,
        httpx.Client() as kept,
    ):
        body = {"calls": [{"prefab_id": "p", "version": "1.0.0", "function_name": "f", "inputs": {"parameters": {"x": 1}}}]}
        target = f"{url}/v1/internal/run"
        ways: dict[str, tuple[int, Callable[[], Any]]] = {
            "**gateway_sdk**": (CALLS, lambda: client.run("p", "1.0.0", "f", {"x": 1})),
            "httpx, one client": (CALLS, lambda: kept.post(target, json=body).json()),
            "httpx, a client per call": (SLOW_CALLS, lambda: fresh(target, body)),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (count, call) in ways.items():
                rates[name].append(rate(count, call))
    base = statistics.median(rates["httpx, a client per call"])
    print("| calls one by one | calls/s | of a client per call |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):,.0f} | {statistics.median(found) / base:.1f} |")


def fresh(target: str, body: dict[str, Any]) -> Any:
    with httpx.Client() as client:
        return client.post(target, json=body).json()


def rate(count: int, call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return count / (time.perf_counter() - started)


def files(url: str, key: str, mebi: int) -> None:
    with tempfile.TemporaryDirectory() as scratch, GatewayClient(base_url=url, api_key=key) as client:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        small.write_bytes(os.urandom(MEBI))
        write_large(large, mebi)
        client.download_file(client.upload_input_file(small), Path(scratch, "back"))  # everything is imported and warm
        before = peak()
        started = time.perf_counter()
        stored = client.upload_input_file(large)
        up = time.perf_counter() - started
        client.download_file(stored, Path(scratch, "back"))
        down = time.perf_counter() - started - up
        print(f"\n| {mebi} MiB by a signed address | MiB/s | client's memory grew by |\n|---|---|---|")
        grown = (peak() - before) / MEBI
        print(f"| upload_input_file | {mebi / up:,.0f} | |\n| download_file | {mebi / down:,.0f} | {grown:.1f} MiB (both) |")


def beside_seaweed(way: str, gateway: tuple[str, str], seaweed: tuple[str, str], mebi: int) -> None:
    """gateway_sdk at a gateway over a bucket, and that bucket's own signed addresses, in turn."""
    (url, key), (endpoint, bucket) = gateway, seaweed
    s3 = s3_client(endpoint)
    with tempfile.TemporaryDirectory() as scratch, GatewayClient(base_url=url, api_key=key) as client, httpx.Client(timeout=300) as direct:
        large, back = Path(scratch, "large"), Path(scratch, "back")
        write_large(large, mebi)
        times: dict[str, list[float]] = {"up": [], "own up": [], "down": [], "own down": []}
        for turn in range(SLOW_ROUNDS):
            name = {"Bucket": bucket, "Key": f"own/{turn}"}
            put, get = (s3.generate_presigned_url(verb, Params=name, ExpiresIn=600) for verb in ("put_object", "get_object"))
            stored: list[str] = []
            times["up"].append(seconds(lambda: stored.append(client.upload_input_file(large))))  # noqa: B023 (called at once)
            times["own up"].append(seconds(lambda: send(direct, put, large)))  # noqa: B023
            times["down"].append(seconds(lambda: client.download_file(stored[0], back)))  # noqa: B023
            times["own down"].append(seconds(lambda: receive(direct, get, back)))  # noqa: B023
    print(f"\n| {mebi} MiB | gateway_sdk, {way}, MiB/s | SeaweedFS itself | ratio |\n|---|---|---|---|")
    for what in ("up", "down"):
        ours, own = (mebi / statistics.median(times[name]) for name in (what, f"own {what}"))
        print(f"| {what} | {ours:,.0f} | {own:,.0f} | {ours / own:.2f} |")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def send(client: httpx.Client, url: str, file: Path) -> None:
    with file.open("rb") as content:
        client.put(
            url, content=iter(lambda: content.read(MEBI), b""), headers={"content-length": str(file.stat().st_size)}
        ).raise_for_status()


def receive(client: httpx.Client, url: str, file: Path) -> None:
    with client.stream("GET", url) as reply, file.open("wb") as target:
        reply.raise_for_status()
        for block in reply.iter_bytes(MEBI):
            target.write(block)


def write_large(path: Path, mebi: int) -> None:
    block = os.urandom(MEBI)
    with path.open("wb") as file:
        for _ in range(mebi):
            file.write(block)


@contextmanager
def seaweed() -> Generator[tuple[str, str]]:
    """Run a SeaweedFS with one bucket; give its address and the bucket. Its credentials are put into the environment."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "benchbench"}
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": "bench", "secretKey": "benchbench"}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    with tempfile.TemporaryDirectory() as home:
        config = Path(home, "s3.json")
        config.write_text(json.dumps({"identities": [identity]}))
        port = free_port()
        ports = [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
        grpc = [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")]
        command = [
            str(BIN / "weed"),
            "server",
            f"-dir={home}",
            "-ip=127.0.0.1",
            "-s3",
            f"-s3.port={port}",
            f"-s3.config={config}",
            *ports,
            *grpc,
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                endpoint = f"http://127.0.0.1:{port}"
                make_bucket(endpoint, "bench")
                yield endpoint, "bench"
            finally:
                process.terminate()


def s3_client(endpoint: str) -> Any:
    maker: Any = boto3  # its clients are made at run time and have no types
    return maker.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(signature_version="s3v4"))


def make_bucket(endpoint: str, name: str) -> None:
    """Make it as soon as the server takes it."""
    s3 = s3_client(endpoint)
    for _ in range(120):
        try:
            s3.create_bucket(Bucket=name)
            s3.put_object(Bucket=name, Key="warm", Body=b"x")
        except (BotoCoreError, ClientError):
            time.sleep(0.5)
        else:
            return
    raise TimeoutError("SeaweedFS did not start")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def platform(*options: str) -> Generator[tuple[str, str]]:
    """Run a platform on a directory of its own; give its address and key."""
    with tempfile.TemporaryDirectory() as home:
        data = Path(home) / "data"
        command = [str(BIN / "sandyard"), "serve", "--data-dir", str(data), "--api-port", "0", "--ingress-port", "0", "--backend", "memory"]
        command += options
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield json.loads((data / "server.json").read_text())["api_url"], (data / "secrets" / "api_key").read_text()
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
