"""Apps as users run them: a directory, the command, and HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from anyio.abc import ByteReceiveStream, Process

    from agentapps.models import ModelServer

BIN = Path(sys.executable).parent
WAIT = 60.0
APPS = Path(__file__).parent / "apps"

CONFIG = """\
models:
  main:
    provider: openai
    base_url: ${MODEL_URL}
    model: gpt-4
    api_key: ${OPENAI_API_KEY:-sk-of-the-tests}
"""


def project(directory: Path, app: str | Path, config: str = CONFIG) -> Path:
    """Write an app's directory; `app` is its source, or a file of `apps/`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "app.py").write_text(app if isinstance(app, str) else app.read_text())
    (directory / "agentapp.yaml").write_text(config)
    return directory


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def message(text: Any, session: str = "s", **metadata: Any) -> dict[str, Any]:
    return {"session_id": session, "message": {"name": "user", "content": text, "role": "user"}, "metadata": metadata}


@dataclass
class Served:
    """A running app."""

    process: Process
    url: str
    directory: Path
    log: list[str] = field(default_factory=list[str])
    grown: anyio.Event = field(default_factory=anyio.Event)

    @property
    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT, trust_env=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ask(self, text: Any, session: str = "s", **metadata: Any) -> str:
        """Send a message and return the whole answer's text."""
        reply = await self.post(message(text, session, **metadata), accept="application/json")
        assert reply.status_code == 200, reply.text
        content = reply.json()["content"]
        return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)

    async def post(self, body: Any, path: str = "/invoke", **headers: str) -> httpx.Response:
        async with self.client as client:
            return await client.post(path, json=body, headers=headers)

    async def chunks(self, body: Any, path: str = "/invoke") -> list[Any]:
        """Return the data of each event of a streamed answer."""
        reply = await self.post(body, path, accept="text/event-stream")
        assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
        return [json.loads(event.data) for event in sse.Decoder().feed(reply.content)]

    @contextlib.asynccontextmanager
    async def streaming(self, body: Any) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Give the bytes of an answer as they come; leaving the block leaves the app."""
        async with self.client as client, client.stream("POST", "/invoke", json=body) as reply:
            yield reply.aiter_bytes()

    async def says(self, text: str) -> None:
        """Wait until the app has logged `text`."""
        with anyio.fail_after(WAIT):
            while text not in "".join(self.log):
                await self.grown.wait()

    def ends(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextlib.asynccontextmanager
async def served(directory: Path, *options: str, program: str | Path = BIN / "agentscope", **environment: str) -> AsyncGenerator[Served]:
    """Run `agentscope run` in the directory for the length of the block."""
    command = [str(program), "run", str(directory), "--port", "0", *options]
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONWARNINGS": "ignore", **environment}
    async with await anyio.open_process(command, env=env, cwd=directory, stdin=subprocess.DEVNULL) as process:
        app = Served(process, "", directory)
        try:
            async with anyio.create_task_group() as tasks:
                assert process.stderr is not None
                assert process.stdout is not None
                tasks.start_soon(_read, process.stderr, app)
                tasks.start_soon(_read, process.stdout, app)
                await app.says("listens on ")
                line = next(line for line in "".join(app.log).splitlines() if "listens on " in line)
                app.url = line.rpartition(" ")[2]
                yield app
                tasks.cancel_scope.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()


async def _read(stream: ByteReceiveStream, app: Served) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            app.log.append((await stream.receive()).decode(errors="replace"))
            app.grown.set()
            app.grown = anyio.Event()
    if not app.url:
        raise AssertionError("the app ended: " + "".join(app.log))


async def ran(*arguments: str, cwd: Path, program: str = "agentscope", **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout, stderr."""
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd), "COLUMNS": "200", **environment}
    with anyio.fail_after(WAIT):
        done = await anyio.run_process([str(BIN / program), *arguments], cwd=cwd, env=env, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def left(app: Served, models: ModelServer, body: Any, path: str = "/invoke", **headers: str) -> bool:
    """Send a message and leave while the model streams; tell whether it noticed within 100 ms.

    A machine that is busy with something else may miss that, but not three times in a row.
    """
    for _ in range(3):
        models.left = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: app.post(body, path, **headers))
            with anyio.fail_after(20):
                while not models.streaming:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        began = anyio.current_time()
        with anyio.fail_after(20):
            await models.left.wait()
        if anyio.current_time() - began < 0.1 + models.delay:
            return True
    return False
