"""AgentScope apps: an echo beside agentscope-runtime's, what `agent.stream` costs, and session state on SQLite.

Runs in any environment: it makes one for agentscope-runtime below `.bootstrap`, and measures ours in `.venv-agentscope`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.request import urlopen

from harness import free_port, post

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT = Path(__file__).resolve().parents[1]
OURS = ROOT / ".venv-agentscope" / "bin"
THEIRS = ROOT / ".bootstrap" / "agentscope-runtime"
REQUIREMENTS = ("agentscope-runtime==1.1.6.post2", "mcp<2", "openai<3", "greenlet", "tqdm")
CONNECTIONS = 16
SECONDS = 3.0
ROUNDS = 5
START_SECONDS = 90.0

OUR_APP = """\
from agentscope.message import Msg
from agentscope.runtime import AgentApp


class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield Msg("assistant", msg.get_text_content(), "assistant")
"""
THEIR_APP = """\
import sys

from agentscope.message import Msg
from agentscope_runtime.engine.app import AgentApp

app = AgentApp(app_name="echo", app_description="echo")


@app.query(framework="agentscope")
async def query(self, msgs, request=None, **kwargs):
    yield Msg("assistant", msgs[-1].get_text_content(), "assistant"), True


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
"""
COSTS = """\
import asyncio, json, statistics, tempfile, time
began = time.perf_counter()
from agentscope.runtime import runtime
first_import = time.perf_counter() - began
from agentscope.agent import ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.model import ChatModelBase, ChatResponse
from agentapp.adapters.agentscope1 import RuntimeModel
from agentscope.formatter import OpenAIChatFormatter
from agentapp.adapters.agentscope1 import quiet

quiet()
CHUNKS = 200


class Scripted(ChatModelBase):
    async def __call__(self, messages, tools=None, tool_choice=None, **kwargs):
        async def chunks():
            text = ""
            for number in range(CHUNKS):
                text += f"word{number} "
                await asyncio.sleep(0)
                yield ChatResponse([{"type": "text", "text": text}], id="r")
        return chunks()


async def seconds(stream):
    began = time.perf_counter()
    count = 0
    async for _ in stream:
        count += 1
    assert count == CHUNKS, count
    return (time.perf_counter() - began) / CHUNKS


async def bare(model):
    async for chunk in await model([{"role": "user", "content": "x"}]):
        yield chunk


async def main():
    inner = Scripted("m", True)
    model = RuntimeModel(inner)
    agent = ReActAgent("a", "", model, OpenAIChatFormatter(), memory=InMemoryMemory())
    plain, streamed = [], []
    for _ in range(30):
        plain.append(await seconds(bare(inner)))
        streamed.append(await seconds(agent.stream(Msg("user", "x", "user"))))
        await agent.memory.clear()
    overhead = statistics.median(b - a for a, b in zip(plain, streamed))
    with tempfile.TemporaryDirectory() as directory:
        open(f"{directory}/agentapp.yaml", "w").write("models: {}")
        await runtime.initialize(project_path=directory)
        memory = InMemoryMemory()
        for number in range(200):
            await memory.add(Msg("user", f"message {number} " * 8, "user"))
        saves, loads = [], []
        for _ in range(50):
            began = time.perf_counter()
            await runtime.session.save_session_state("s", memory=memory)
            saved = time.perf_counter()
            await runtime.session.load_session_state("s", memory=InMemoryMemory())
            saves.append(saved - began)
            loads.append(time.perf_counter() - saved)
        await runtime.shutdown()
    found = {"first import, s": first_import, "agent.stream over the bare model, us per chunk": overhead * 1e6}
    found |= {"save 200 messages, ms": statistics.median(saves) * 1e3, "load 200 messages, ms": statistics.median(loads) * 1e3}
    print(json.dumps(found))


asyncio.run(main())
"""


@dataclass
class App:
    """A running echo: its request, and what was measured."""

    name: str
    port: int
    pid: int
    ready: float
    request: list[bytes]
    rates: list[float] = field(default_factory=list[float])
    firsts: list[float] = field(default_factory=list[float])

    @property
    def memory(self) -> float:
        """Resident MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def running(name: str, command: Sequence[str | Path], port: int, cwd: Path, request: list[bytes]) -> Generator[App]:
    """Run an app until the block ends."""
    began = time.perf_counter()
    environment = {**os.environ, "AGENTSCOPE_DISABLE_CONSOLE_OUTPUT": "true"}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _answers(f"http://127.0.0.1:{port}/health"):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise TimeoutError(f"{name} does not listen")
                time.sleep(0.01)
            yield App(name, port, process.pid, time.perf_counter() - began, request)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError:
        return False


async def measured(app: App) -> None:
    """Do one round: whole answers for a while over all connections, then first chunks over one."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + SECONDS
    counts = await asyncio.gather(*[_asked(app, request, ends_at) for request in app.request])
    app.rates.append(sum(counts) / SECONDS)
    for _ in range(50):
        app.firsts.append(await _first(app))


async def _asked(app: App, request: bytes, ends_at: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    done = 0
    while asyncio.get_running_loop().time() < ends_at:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        done += 1
    writer.close()
    return done


async def _first(app: App) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    began = time.perf_counter()
    writer.write(app.request[0])
    await reader.readuntil(b"data: ")
    seconds = time.perf_counter() - began
    await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return seconds


def our_requests() -> list[bytes]:
    bodies = [
        {"session_id": f"s{number}", "message": {"name": "user", "content": "hello", "role": "user"}} for number in range(CONNECTIONS)
    ]
    return [post("/invoke", json.dumps(body).encode()) for body in bodies]


def their_requests() -> list[bytes]:
    message = {"role": "user", "type": "message", "content": [{"type": "text", "text": "hello"}]}
    bodies = [{"input": [message], "session_id": f"s{number}"} for number in range(CONNECTIONS)]
    return [post("/process", json.dumps(body).encode()) for body in bodies]


def install_theirs() -> bool:
    """Make agentscope-runtime's environment, if it is not there; False where that fails."""
    if (THEIRS / "bin" / "python").exists():
        return True
    uv = shutil.which("uv") or str(ROOT / ".venv" / "bin" / "uv")
    made = subprocess.run([uv, "venv", "-q", "--python", OURS / "python", THEIRS], check=False)
    if made.returncode:
        return False
    return subprocess.run([uv, "pip", "install", "-q", "--python", THEIRS / "bin" / "python", *REQUIREMENTS], check=False).returncode == 0


def compared(apps: Sequence[App]) -> None:
    for number in range(ROUNDS + 1):
        for app in apps if number % 2 else reversed(apps):
            if not number:
                app.rates.clear()
                app.firsts.clear()
            asyncio.run(measured(app))
    print("| echo app | requests/s, 16 connections | time to first chunk, ms | ready after, s | memory, MiB |\n|---|---|---|---|---|")
    for app in apps:
        rate, first = statistics.median(app.rates), statistics.median(app.firsts) * 1e3
        print(f"| {app.name} | {rate:,.0f} | {first:.2f} | {app.ready:.2f} | {app.memory:.0f} |")
    if len(apps) == 2:
        ours, theirs = apps
        rates = statistics.median(ours.rates) / statistics.median(theirs.rates)
        firsts = statistics.median(theirs.firsts) / statistics.median(ours.firsts)
        print(f"\nOurs answers {rates:.1f} times as many requests, and its first chunk comes {firsts:.1f} times as soon.\n")


def main() -> int:
    if not (OURS / "agentscope").exists():
        print("there is no .venv-agentscope: scripts/check or scripts/test makes it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "app.py").write_text(OUR_APP)
        (directory / "agentapp.yaml").write_text("models: {}\n")
        (directory / "theirs.py").write_text(THEIR_APP)
        one, two = free_port(), free_port()
        ours = [OURS / "agentscope", "run", str(directory), "--port", str(one), "--log-level", "warning"]
        with running("sandyard-agentscope", ours, one, directory, our_requests()) as app:
            if install_theirs():
                theirs = [THEIRS / "bin" / "python", "theirs.py", str(two)]
                with running("agentscope-runtime 1.1.6", theirs, two, directory, their_requests()) as other:
                    compared([app, other])
            else:
                compared([app])
        done = subprocess.run([OURS / "python", "-c", COSTS], cwd=directory, capture_output=True, text=True, check=True)
    for name, value in cast("dict[str, float]", json.loads(done.stdout.splitlines()[-1])).items():
        print(f"* {name}: {value:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
