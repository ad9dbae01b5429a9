"""The process back end's own times, medians: start to listening, connect, freeze, thaw, stop.

python benchmarks/process_backend.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import uvloop

from sandyard.backends.process.backend import ProcessBackend
from sandyard.domain.specs import EgressPolicy, Mount, SandboxSpec

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

AGENT = """
import _socket, time
server = _socket.socket()
server.bind(("127.0.0.1", 8080))
server.listen(64)
while True:
    fd, _ = server._accept()
    _socket.close(fd)
"""
Taken = TypeVar("Taken")
PYTHON = os.path.realpath(sys.executable)
CONNECTS_PER_ROUND = 20


class Times:
    """Milliseconds by name."""

    def __init__(self) -> None:
        self._of: dict[str, list[float]] = {}

    async def take(self, name: str, work: Awaitable[Taken]) -> Taken:
        begun = time.perf_counter()
        try:
            return await work
        finally:
            self._of.setdefault(name, []).append((time.perf_counter() - begun) * 1000)

    def show(self) -> None:
        for name, values in self._of.items():
            print(f"{name:28} {median(values):8.3f} ms   (worst {max(values):.3f}, n={len(values)})")


def close_listener(_: str, listener: socket.socket, __: EgressPolicy) -> None:
    listener.close()


async def one_round(backend: ProcessBackend, app: Path, number: int, times: Times) -> None:
    name = f"b{number}"
    spec = SandboxSpec(
        sandbox_id=name,
        command=(PYTHON, "-I", "-S", "/app/main.py"),
        mounts=(Mount(app, "/app", "overlay"),),
        ends_at=time.time() + 60,
    )
    await times.take("start to listening", backend.start(spec))
    for _ in range(CONNECTS_PER_ROUND):
        (await times.take("connect", backend.connect(name, 8080))).close()
    await times.take("freeze", backend.freeze(name))
    await times.take("thaw", backend.thaw(name))
    await times.take("stop", backend.stop(name))


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        app = Path(directory, "app")
        app.mkdir()  # noqa: ASYNC240 (nothing is measured yet)
        (app / "main.py").write_text(AGENT)
        backend = ProcessBackend(Path(directory, "data"), attach_egress=close_listener, detach_egress=lambda _: None)
        times = Times()
        await times.take("open (keeper and trial start)", backend.open())
        try:
            for number in range(rounds):
                await one_round(backend, app, number, times)
        finally:
            await times.take("shutdown", backend.shutdown())
        times.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    uvloop.run(main(parser.parse_args().rounds))
