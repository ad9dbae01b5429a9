"""A process back end for system tests, and an agent that runs what it is told: the probe of every attempt from inside."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sandyard.backends.process import processes, records
from sandyard.backends.process.backend import ProcessBackend
from sandyard.backends.process.launcher import LAUNCHER, SPARE
from sandyard.domain.specs import Limits, Mount, SandboxSpec

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from sandyard.domain.specs import Exited

PYTHON = os.path.realpath(sys.executable)

PROBE = """
import contextlib, json, socketserver, traceback
kept = {}
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        if not line:
            return
        kept["result"] = None
        try:
            exec(json.loads(line), kept)
            answer = {"result": kept["result"]}
        except BaseException as error:
            answer = {"error": type(error).__name__, "errno": getattr(error, "errno", None), "text": traceback.format_exc()}
        self.wfile.write(json.dumps(answer).encode() + b"\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
Server(("127.0.0.1", 8080), Handler).serve_forever()
"""
"""Executes what it is sent, each connection in a thread of its own."""
PROBE_IN_TURN = PROBE.replace("ThreadingTCPServer", "TCPServer").replace("= daemon_threads ", "")
"""The same, one connection after the other and without threads, which count as processes."""


@dataclass(frozen=True)
class Answer:
    """What came of a piece of code: what it set `result` to, or what it raised."""

    result: Any = None
    """As JSON carries it: the code's own."""
    error: str | None = None
    """The name of the exception's class; None if there was none."""
    errno: int | None = None
    text: str = ""
    """The traceback."""


@dataclass
class Rig:
    """One back end on one data directory; `listeners` are what egress was given and holds."""

    data: Path
    isolation: Literal["full", "none"] = "full"
    backend: ProcessBackend = field(init=False)
    listeners: dict[str, socket.socket] = field(default_factory=dict[str, "socket.socket"])

    def __post_init__(self) -> None:
        self.backend = self.another()

    def another(self) -> ProcessBackend:
        """Return a back end for a server that comes after the one before."""
        return ProcessBackend(self.data, attach_egress=self._attach, detach_egress=self._detach, isolation=self.isolation)

    def _attach(self, sandbox_id: str, listener: socket.socket, policy: object) -> None:
        self._detach(sandbox_id)
        self.listeners[sandbox_id] = listener

    def _detach(self, sandbox_id: str) -> None:
        if sandbox_id in self.listeners:
            self.listeners.pop(sandbox_id).close()

    def spec(
        self, sandbox_id: str, script: str = PROBE, *, mode: Literal["ro", "rw", "overlay"] = "overlay", **changes: Any
    ) -> SandboxSpec:
        """Return the spec of a sandbox that runs `script`: as root, where there is one in a sandbox of ours."""
        if changes.get("system") == "writable" and os.geteuid() == 0:
            changes.setdefault("user", "root")
        app = self.data.parent / f"app-{sandbox_id}"
        app.mkdir(exist_ok=True)
        (app / "main.py").write_text(textwrap.dedent(script))
        spec = SandboxSpec(
            sandbox_id=sandbox_id,
            command=(PYTHON, "/app/main.py"),
            cwd="/app",
            env={"PATH": "/usr/bin:/bin", "HOME": "/home/user"},
            mounts=(Mount(app, "/app", mode),),
            limits=Limits(memory_bytes=256 << 20, disk_bytes=64 << 20, processes=64),
            ready_timeout=30,
            ends_at=time.time() + 300,
        )
        return replace(spec, **changes)

    async def run(self, sandbox_id: str, code: str) -> Answer:
        """Execute `code` inside and return what came of it."""
        sock = await self.backend.connect(sandbox_id, 8080)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(json.dumps(textwrap.dedent(code)).encode() + b"\n")
            async with asyncio.timeout(30):
                line = await reader.readline()
            return Answer(**json.loads(line))
        finally:
            writer.close()

    async def result(self, sandbox_id: str, code: str) -> Any:
        """Execute `code` inside and return what it set `result` to; it must not raise."""
        answer = await self.run(sandbox_id, code)
        assert answer.error is None, answer
        return answer.result

    def keeper(self) -> int:
        """Return the keeper's pid."""
        return next(iter(keepers(self.data)))

    def record(self, sandbox_id: str) -> records.Record:
        """Return what the keeper has written down of it."""
        record = records.read(self.data / "sandboxes" / sandbox_id)
        assert record is not None
        return record

    def first(self, sandbox_id: str) -> int:
        """Return the pid of its first process, as the host numbers it."""
        pid = self.record(sandbox_id).first
        assert pid is not None
        return pid


def keepers(data: Path) -> list[int]:
    """Return the pids of the keepers of a data directory, without the launchers that they have forked."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                named = (entry / "comm").read_text().strip() in (LAUNCHER, SPARE)
                parent = processes.parent(int(entry.name))
            except OSError:
                continue
            keeps = str(data).encode() in words and any(b"sandyard.backends.process" in word for word in words)
            if keeps and not named and lives(int(entry.name)):
                found[int(entry.name)] = parent
    return [pid for pid, parent in found.items() if parent not in found]


@asynccontextmanager
async def rig(directory: Path, isolation: Literal["full", "none"] = "full") -> AsyncGenerator[Rig]:
    """Open a back end below `directory`; leave nothing."""
    made = Rig(directory / "data", isolation)
    await made.backend.open()
    try:
        yield made
    finally:
        await made.backend.shutdown()
        for listener in made.listeners.values():
            listener.close()


async def ended(backend: ProcessBackend, seconds: float = 30) -> Exited:
    """Return the next sandbox that ended by itself."""
    async with asyncio.timeout(seconds):
        return await anext(aiter(backend.exits()))


async def until_gone(pid: int, seconds: float = 20) -> None:
    """Return when the process has gone; its pidfd tells."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def lives(pid: int) -> bool:
    """Whether the process runs; one that has died and is not yet buried by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
