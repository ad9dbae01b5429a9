"""A real platform for tests: `sandyard serve` as a subprocess on a directory of its own, reached as users reach it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import httpx

from support.packages import pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class PlatformEnded(AssertionError):  # noqa: N818
    """The server ended instead of becoming ready; the message holds what it said."""


class Platform:
    """One `sandyard serve`, from `async with` to the end; ports are chosen by the system.

    `api` is an HTTP client of the control plane with the key set; `sandbox_url` is the ingress. `kill9` and `restart` work on
    the same data directory, so sandboxes may be adopted. `program` is what runs in place of the installed `sandyard`, in a
    process environment of its own.
    """

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        backend: Literal["memory", "process"] = "memory",
        program: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._program = tuple(program) or tuple(command())
        self._environ = environ
        self.log = data_dir.with_name(data_dir.name + ".log")
        self._options = ("--backend", backend, *options)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            await self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the server and wait for the line by which it says that both listeners are open."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._program, "serve", "--data-dir", str(self.data_dir), "--api-port", "0", "--ingress-port", "0", *self._options),
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await self._process.stdout.readline()
        if not line.startswith(b"ready"):
            code = await self._process.wait()
            self._process = None
            raise PlatformEnded(f"serve ended with {code}: {line!r}\n{self.log.read_text()[-4000:]}")
        info = json.loads((self.data_dir / "server.json").read_text())
        self.api_url: str = info["api_url"]
        self.sandbox_url: str = info["sandbox_url"]
        self.domain: str = info["domain"]
        self.key = (self.data_dir / "secrets" / "api_key").read_text()
        self.api = httpx.AsyncClient(base_url=self.api_url, headers={"X-API-Key": self.key}, timeout=60, trust_env=False)

    @property
    def env(self) -> dict[str, str]:
        """The variables that `sandyard env` prints."""
        return {
            "PPIO_API_KEY": self.key,
            "PPIO_API_URL": self.api_url,
            "PPIO_SANDBOX_URL": self.sandbox_url,
            "PPIO_DOMAIN": self.domain,
            "E2B_API_KEY": "e2b_" + self.key.removeprefix("sk-"),
            "E2B_API_URL": self.api_url,
            "E2B_SANDBOX_URL": self.sandbox_url,
            "E2B_DOMAIN": self.domain,
            "E2B_VOLUME_API_URL": self.api_url,
        }

    def peak_memory(self) -> int:
        """Return the most memory that the server has held so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    async def stop(self) -> None:
        """SIGTERM; the server must drain, leave nothing and exit 0."""
        code = await self._end(signal.SIGTERM)
        assert code == 0, f"serve exited with {code}: {self.log.read_text()[-4000:]}"

    async def kill9(self) -> None:
        """SIGKILL: what the server held stays as it was."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """`kill9` if it still runs, then start on the same directory."""
        if self._process is not None:
            await self.kill9()
        await self.start()

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        await self.api.aclose()  # after it: a client that leaves cancels its calls, which is no kill
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()
            raise
        code = self._process.returncode
        self._process = None
        assert code is not None
        return code

    async def deploy(self, directory: Path, *, tags: str = "", expect: str = "ready") -> dict[str, Any]:
        """Upload a directory, follow its build to the end and return the last status (`reason` says why where it failed)."""
        reply = await self.api.post("/agents", params={"tags": tags}, content=pack(directory), headers={"Content-Type": "application/gzip"})
        assert reply.status_code == 202, reply.text
        deployment = reply.json()
        status = await self.follow(deployment["templateID"], deployment["buildID"])
        assert status["status"] == expect, status
        return status

    async def follow(self, template: str, build: str) -> dict[str, Any]:
        """Follow a build's log to its end; return the status, with `lines` that were streamed."""
        lines: list[str] = []
        event = ""
        async with self.api.stream("GET", f"/templates/{template}/builds/{build}/logs", params={"follow": "true"}, timeout=600) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and event == "end":
                    return json.loads(line.removeprefix("data: ")) | {"lines": lines}
                elif line.startswith("data: "):
                    lines.append(json.loads(line.removeprefix("data: "))["message"])
        raise AssertionError(f"the log ended without an end event: {lines}")

    async def create(self, template: str, **fields: Any) -> dict[str, Any]:
        """Create a sandbox and return the answer."""
        reply = await self.api.post("/sandboxes", json={"templateID": template, "timeout": 300, **fields})
        assert reply.status_code == 201, reply.text
        return reply.json()

    async def call(
        self, sandbox: dict[str, Any], path: str = "/", *, method: str = "GET", port: int = 8080, **options: Any
    ) -> httpx.Response:
        """Send a request to a port of a sandbox, through the ingress."""
        headers = {
            "PPIO-Sandbox-Id": sandbox["sandboxID"],
            "PPIO-Sandbox-Port": str(port),
            "X-Access-Token": sandbox["envdAccessToken"],
        } | options.pop("headers", {})
        async with httpx.AsyncClient(base_url=self.sandbox_url, timeout=30, trust_env=False) as client:
            return await client.request(method, path, headers=headers, **options)


def command(*arguments: str) -> list[str]:
    """Return the argument vector of a `sandyard` command, as installed beside the running interpreter."""
    return [str(Path(sys.executable).with_name("sandyard")), *arguments]


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a `sandyard` command to its end; return exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (env or {}),
    )
    async with asyncio.timeout(START_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Ask again until `condition()` holds: for what only the platform's own time brings about."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (the condition lives in another process)
            await asyncio.sleep(0.02)
