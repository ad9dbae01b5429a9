"""Sessions: from `create_session` to the first answer, pause and resume, and a hundred of them held at once.

Run: `python benchmarks/sessions.py` (as root for uids and cgroups of the sandboxes' own). Prints markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import uvloop
from harness import free_port, post
from platform_process import ROOT, Platform, cost_inside, platform_with

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig
from sandyard.backends.process.backend import ProcessBackend
from sandyard.domain.specs import Mount, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ppio_sandbox.agent_runtime.client import SandboxSession

T = TypeVar("T")
MILLI = 1000.0
REQUEST = post("/invocations", b'{"prompt": "you"}')


@dataclass
class Laps:
    """Milliseconds of one thing, round after round."""

    name: str
    rounds: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def row(self) -> str:
        return f"| {self.name} | {self.median:.1f} | {min(self.rounds):.1f} to {max(self.rounds):.1f} |"


async def timed(laps: Laps, work: Awaitable[object]) -> None:
    began = time.perf_counter()
    await work
    laps.rounds.append((time.perf_counter() - began) * MILLI)


async def first_answer(port: int) -> None:
    """Ask until something listens, then read the whole answer; the plain process has nobody who could tell."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.001)
            continue
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.close()
        return


async def plain_process(platform: Platform) -> None:
    """The same agent with the same interpreter and libraries as a plain subprocess."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(platform.agent_home / "venv/bin/python"),
        "agent.py",
        cwd=platform.agent_home / "app",
        env={"PATH": os.environ["PATH"], "PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(first_answer(port), 30)
    finally:
        process.kill()
        await process.wait()


async def session_start(client: AgentRuntimeClient, platform: Platform, rounds: int) -> list[Laps]:
    session_laps, plain_laps = (
        Laps("`create_session` to the first answer"),
        Laps("the same agent as a plain subprocess"),
    )

    async def session() -> None:
        made.append(await client.create_session("hello"))
        await made[-1].invoke("you")

    made: list[SandboxSession] = []
    for _ in range(rounds):
        await timed(session_laps, session())
        await made.pop().close()
        await timed(plain_laps, plain_process(platform))
    return [session_laps, plain_laps]


async def pauses(client: AgentRuntimeClient, rounds: int) -> list[Laps]:
    pause, resume = Laps("pause to confirmed"), Laps("resume to the next answer")
    session = await client.create_session("hello")
    await session.invoke("you")
    for _ in range(rounds):
        await timed(pause, session.pause())
        await timed(resume, _resumed(session))
    await session.close()
    return [pause, resume]


async def _resumed(session: SandboxSession) -> None:
    await session.resume()
    await session.invoke("you")


async def own_pauses(platform: Platform, rounds: int) -> list[Laps]:
    """The back end's own freeze and thaw (to the answer of a direct request), without platform and HTTP in the way."""
    freeze, thaw = Laps("the back end's own freeze"), Laps("the back end's own thaw, to the answer of a direct request")
    with tempfile.TemporaryDirectory(prefix="sandyard-bench-") as name:
        backend = ProcessBackend(Path(name, "data"), attach_egress=lambda _id, sock, _policy: sock.close(), detach_egress=lambda _id: None)
        await backend.open()
        try:
            await backend.start(_spec(platform))
            for _ in range(rounds):
                await timed(freeze, backend.freeze("bench"))
                await timed(thaw, _thawed(backend))
        finally:
            await backend.shutdown()
    return [freeze, thaw]


def _spec(platform: Platform) -> SandboxSpec:
    return SandboxSpec(
        sandbox_id="bench",
        command=("/opt/venv/bin/python", "agent.py"),
        cwd="/app",
        env={"PPIO_AGENT_HOST": "127.0.0.1"},
        mounts=(Mount(platform.agent_home / "venv", "/opt/venv"), Mount(platform.agent_home / "app", "/app", "overlay")),
        ends_at=time.time() + 600,
    )


async def _thawed(backend: ProcessBackend) -> None:
    await backend.thaw("bench")
    reader, writer = await asyncio.open_connection(sock=await backend.connect("bench", 8080))
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
    writer.close()


async def density(client: AgentRuntimeClient, platform: Platform, count: int, seconds: float) -> list[str]:
    """Hold `count` sessions, let them idle, ask each again."""
    gate = asyncio.Semaphore(8)
    began = time.perf_counter()
    sessions = await asyncio.gather(*[_gated(gate, lambda: client.create_session("hello", timeout_seconds=900)) for _ in range(count)])
    started = time.perf_counter() - began
    await asyncio.gather(*[session.invoke("you") for session in sessions])
    before = cost_inside(platform)
    await asyncio.sleep(seconds)
    after = cost_inside(platform)
    began = time.perf_counter()
    answers = await asyncio.gather(*[session.invoke("you") for session in sessions])
    asked = time.perf_counter() - began
    await asyncio.gather(*[_gated(gate, session.close) for session in sessions])
    return [
        f"| sessions held, each answering | {sum('you' in answer.result for answer in answers)} of {count} |",
        f"| all started in | {started:.1f} s ({started / count * MILLI:.0f} ms each) |",
        f"| all asked at once, answered in | {asked * MILLI:.0f} ms |",
        f"| memory per idle session (PSS of its {after.processes / count:.1f} processes) | {after.pss / count / 2**20:.1f} MiB |",
        f"| CPU per idle session | {(after.cpu - before.cpu) / count / seconds * MILLI:.3f} ms per second |",
    ]


async def _gated(gate: asyncio.Semaphore, work: Callable[[], Awaitable[T]]) -> T:
    async with gate:
        return await work()


async def measure(rounds: int, count: int, seconds: float) -> None:
    with platform_with(ROOT / "examples" / "hello") as platform:
        config = ClientConfig(base_url=platform.api_url, sandbox_url=platform.sandbox_url)
        async with AgentRuntimeClient(api_key=platform.api_key, config=config) as client:
            starts = await session_start(client, platform, rounds)
            stops = [*await pauses(client, rounds), *await own_pauses(platform, rounds)]
            held = await density(client, platform, count, seconds)
    print("### Start of a session\n\n| | ms, median | lowest to highest |\n|---|---|---|")
    print("\n".join(lap.row() for lap in starts), f"\n| **difference** | {starts[0].median - starts[1].median:.1f} | |\n")
    print("### Pause and resume\n\n| | ms, median | lowest to highest |\n|---|---|---|")
    print("\n".join(lap.row() for lap in stops))
    print(f"| **pause over freeze** | {stops[0].median - stops[2].median:.1f} | |")
    print(f"| **resume over thaw** | {stops[1].median - stops[3].median:.1f} | |\n")
    print(f"### {count} sessions at once\n\n| | |\n|---|---|\n" + "\n".join(held) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the sessions idle")
    options = parser.parse_args()
    uvloop.run(measure(options.rounds, options.sessions, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
