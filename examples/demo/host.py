"""What the demo runs on this machine: the platform, the model server, the command line."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

BIN = Path(sys.executable).parent
RUN_TIMEOUT = 900.0
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0


class HostError(Exception):
    """Something on this machine did not do what it was started for; the message holds its last lines."""


async def run(*command: str, env: dict[str, str], told: str | None = None) -> str:
    """Run a program to its end and return what it printed on standard output; it reads what it is `told` from standard input.

    Raises:
        HostError: it failed, or took too long.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=env, stdin=None if told is None else pipe, stdout=pipe, stderr=pipe)
    try:
        output, errors = await asyncio.wait_for(process.communicate(None if told is None else told.encode()), RUN_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise HostError(f"{shlex.join(command)} took more than {RUN_TIMEOUT:.0f} s") from None
    if process.returncode:
        raise HostError(f"{shlex.join(command)} ended with {process.returncode}:\n{errors.decode(errors='replace').strip()}")
    return output.decode(errors="replace").strip()


@dataclass
class Platform:
    """`sandyard serve` on a data directory of its own."""

    data_dir: Path
    backend: str
    allow: Sequence[str]
    ports: tuple[int, int] = (0, 0)
    process: Process | None = None

    async def start(self) -> None:
        """Start it and return when it serves; a second start takes the ports of the first.

        Raises:
            HostError: it ended, or did not listen in time.
        """
        api, ingress = map(str, self.ports)
        command = [str(BIN / "sandyard"), "serve", "--data-dir", str(self.data_dir), "--api-port", api, "--ingress-port", ingress]
        command += ["--backend", self.backend]
        command += [word for name in self.allow for word in ("--egress-allow", name)]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True
            )
        await self._until_ready(self.process)
        env = await self.env()
        self.ports = (port(env["PPIO_API_URL"]), port(env["PPIO_SANDBOX_URL"]))

    @property
    def log(self) -> Path:
        return self.data_dir.parent / "serve.log"

    async def env(self) -> dict[str, str]:
        """Return what `sandyard env` prints, as variables."""
        lines = (await run(str(BIN / "sandyard"), "env", "--data-dir", str(self.data_dir), env=dict(os.environ))).splitlines()
        words = [shlex.split(line) for line in lines]
        return dict(word.split("=", 1) for line in words if line[:1] == ["export"] for word in line[1:])

    async def kill(self) -> None:
        """`kill -9`, and nothing else: what it started must live on."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end for good and return its exit code.

        Raises:
            HostError: it did not end in time.
        """
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            await self.kill()
            raise HostError(f"sandyard serve did not end within {STOP_TIMEOUT:.0f} s of SIGTERM:\n{tail(self.log)}") from None

    async def _until_ready(self, process: Process) -> None:
        """Wait for the one line that it prints when both listeners are open."""
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT)
        except TimeoutError:
            raise HostError(f"sandyard serve was not ready within {START_TIMEOUT:.0f} s:\n{tail(self.log)}") from None
        if not line:
            raise HostError(f"sandyard serve ended with {await process.wait()}:\n{tail(self.log)}")


def port(url: str) -> int:
    return urlsplit(url).port or 0


def tail(log: Path, lines: int = 20) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


@dataclass
class ModelServer:
    """The scripted model, on a loopback address that a sandbox does not take for its own (docs/egress.md)."""

    process: Process
    url: str

    @classmethod
    async def start(cls, log: Path) -> ModelServer:
        """Start it and return when it listens. It may outlive us, so it holds nothing of ours: what it says goes to `log`."""
        command = (sys.executable, "-m", "examples.model_server", "--host", "127.0.0.2", "--port", "0", "--delay", "0.01")
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=file, start_new_session=True
            )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT)
        if not line:
            raise HostError(f"the model server did not start:\n{tail(log)}")
        return cls(process, line.decode().strip())

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
