"""An agent that does what its request tells it, good or bad, and a platform of the process back end that has it deployed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import httpx

from support import traces
from support.packages import write_agent
from support.platform import Platform, until

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 256 * 1024 * 1024
DISK = 64 * 1024 * 1024
PROCESSES = 64
OPTIONS = ("--memory", "256Mi", "--disk", "64Mi", "--processes", str(PROCESSES))

FORKS = 200
"""The most that the agent ever forks, also where nothing limits it."""

SOURCE = """\
import asyncio
import os
import signal
import sys
import time

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()
kept = {"calls": 0, "left": 0, "chunks": 0}

match os.environ.get("START"):
    case "exit":
        print("farewell", flush=True)
        os._exit(7)
    case "silent":
        print("waiting for Godot", flush=True)
        time.sleep(600)
    case "slow":
        time.sleep(60)
    case "stubborn":
        pid = os.fork()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if pid == 0:
            time.sleep(600)


def count(request):
    kept["calls"] += 1
    return dict(kept)


def shout(request):
    line = b"x" * 1023 + b"\\n"
    for _ in range(request["bytes"] // 1024):
        os.write(1, line)
    os.write(1, b"the last line\\n")
    return request["bytes"]


def swell(request):
    held = []
    while True:
        held.append(b"x" * (8 << 20))


def multiply(request):
    made = 0
    try:
        while made < FORKS:  # in all: a child forks nothing
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except BlockingIOError:
        pass
    return made


def spill(request):
    written = 0
    with open("/home/user/flood", "wb", buffering=0) as file:
        try:
            while written < (4 << 30):
                written += file.write(bytes(1 << 20))
        except OSError as error:
            return {"written": written, "errno": error.errno}
    return {"written": written, "errno": None}


def environment(request):
    facts = {"environ": dict(os.environ), "argv": sys.argv, "proc": {}}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            try:
                facts["proc"][f"{pid}/{name}"] = open(f"/proc/{pid}/{name}").read()
            except OSError:
                pass
    return facts


async def ticks(request):
    try:
        while True:
            yield {"tick": kept["chunks"], "filling": "x" * request.get("size", 0)}
            kept["chunks"] += 1
            await asyncio.sleep(request.get("pause", 0.01))
    finally:
        kept["left"] += 1


async def cut(request):
    yield "one"
    yield "two"
    await asyncio.sleep(0.05)
    print("my last words", flush=True)
    os._exit(request.get("code", 9))


async def wait(request):
    kept["waiting"] = True
    await asyncio.sleep(600)


ACTS = {act.__name__: act for act in (count, shout, swell, multiply, spill, environment, ticks, cut)}


@app.entrypoint
async def answer(request):
    act = ACTS.get(request["act"])
    if act is None:
        return await wait(request)
    if act in (ticks, cut):
        return act(request)
    return await asyncio.to_thread(act, request)


if __name__ == "__main__":
    app.run()
""".replace("FORKS", str(FORKS))


class Hostile:
    """A platform on which the agent above is deployed as `hostile`."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @property
    def data_dir(self) -> Path:
        return self.platform.data_dir

    async def deploy(self, directory: Path, name: str = "hostile", *, ready_seconds: int | None = None) -> None:
        await self.platform.deploy(write_agent(directory, name, SOURCE, timeout=ready_seconds))

    async def session(self, *, start: str = "", **fields: Any) -> dict[str, Any]:
        """Create a session; `start` says what the agent does at its start."""
        return await self.platform.create("hostile", envVars={"START": start}, **fields)

    async def act(self, session: dict[str, Any], act: str, **fields: Any) -> httpx.Response:
        """Let a session's agent do something; return the answer."""
        return await self.platform.call(session, "/invocations", method="POST", json={"act": act, **fields})

    async def result(self, session: dict[str, Any], act: str, **fields: Any) -> Any:
        reply = await self.act(session, act, **fields)
        assert reply.status_code == 200, reply.text
        return reply.json()["result"]

    async def end(self, *sessions: dict[str, Any]) -> None:
        """Close sessions, and see that nothing of them is left on the machine."""
        for session in sessions:
            reply = await self.platform.api.delete(f"/sandboxes/{session['sandboxID']}")
            assert reply.status_code in (204, 404), reply.text
        self.see_nothing_left(*(session["sandboxID"] for session in sessions))

    def see_nothing_left(self, *ids: str) -> None:
        """Check that no directory, group or process of these sandboxes is left at this moment."""
        assert self._left(ids) == []

    def _left(self, ids: tuple[str, ...]) -> list[str]:
        lines = [traces.command_line(pid) for pid, _ in traces.processes()]
        named = [line for line in lines if any(id_ in line for id_ in ids)]
        return [*(traces.sandbox_dirs(self.data_dir) & set(ids)), *traces.control_groups(ids), *named]

    async def ended(self, session: dict[str, Any]) -> dict[str, Any]:
        """Wait until the platform knows that a session has ended by itself and has cleared it away; return how it ended."""
        id_ = session["sandboxID"]
        details: list[dict[str, Any]] = []

        async def is_known() -> bool:
            reply = await self.platform.api.get(f"/sandboxes/{id_}")
            details.extend([reply.json()["details"]] if reply.status_code == 404 else [])
            return bool(details)

        async def is_cleared_away() -> bool:
            return self._left((id_,)) == []

        await until(is_known)
        await until(is_cleared_away)
        return details[0]

    def stream(self, session: dict[str, Any], act: str, **fields: Any) -> Stream:
        return Stream(self.platform, session, {"act": act, **fields})


class Stream:
    """One streamed invocation on a connection of its own, read as slowly as the test likes."""

    def __init__(self, platform: Platform, session: dict[str, Any], body: dict[str, Any]) -> None:
        self._url = httpx.URL(platform.sandbox_url)
        content = httpx.Request("POST", platform.sandbox_url + "/invocations", json=body)
        head = [
            "POST /invocations HTTP/1.1",
            f"Host: {self._url.host}:{self._url.port}",
            f"PPIO-Sandbox-Id: {session['sandboxID']}",
            "PPIO-Sandbox-Port: 8080",
            f"X-Access-Token: {session['envdAccessToken']}",
            "Content-Type: application/json",
            f"Content-Length: {len(content.content)}",
        ]
        self._request = "\r\n".join(head).encode() + b"\r\n\r\n" + content.content
        self.seen = b""

    async def __aenter__(self) -> Self:
        assert self._url.port is not None
        self._reader, self._writer = await asyncio.open_connection(self._url.host, self._url.port, limit=1024)
        self._writer.write(self._request)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def read(self, size: int = 65536) -> bytes:
        """Return what has come, at most `size` bytes; nothing at the end."""
        async with asyncio.timeout(20):
            piece = await self._reader.read(size)
        self.seen += piece
        return piece

    async def until(self, marker: bytes) -> None:
        while marker not in self.seen:
            assert await self.read(), self.seen

    async def rest(self) -> bool:
        """Read to the end; return whether the body ended cleanly (its last chunk came)."""
        try:
            while await self.read():
                pass
        except ConnectionError:
            return False
        return self.seen.endswith(b"0\r\n\r\n")
