"""The agent command line as a process: on pipes, as programs run it, or on a terminal, as people do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def _everything(terminal: int, mark: bytes | None, on_mark: Callable[[], None]) -> str:
    """Read a terminal until nobody holds its other side (the kernel says so by EIO); call `on_mark` once when `mark` has come."""
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 65536):
            shown += part
            if mark is not None and mark in shown:
                mark = None
                on_mark()
    return shown.decode()


def _interrupt(pid: int) -> None:
    """Send SIGINT to a child that has asked, once it waits: between prompt and read Python would notice it only with the next line."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)


class Cli:
    """The command line, with a directory to stand in and an environment of its own."""

    def __init__(self, here: Path, environment: dict[str, str]) -> None:
        self.here = here
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(here), **environment}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("ppio-sandbox-cli")),
            "agent",
            *arguments,
            cwd=self.here,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def on_terminal(self, *arguments: str, typed: str = "", interrupt_at: str | None = None) -> str:
        """Run with a terminal of 80 columns, on which `typed` has been typed ahead, and return all that it was sent.

        Once `interrupt_at` has been shown, SIGINT is sent, and the program must end with 130.
        """
        terminal, inside = os.openpty()
        os.write(terminal, typed.encode())
        termios.tcsetwinsize(inside, (24, 80))
        program = Path(sys.executable).with_name("ppio-sandbox-cli")
        environment = {**self.environment, "TERM": "xterm"}
        process = await asyncio.create_subprocess_exec(
            program, "agent", *arguments, cwd=self.here, env=environment, stdin=inside, stdout=inside, stderr=inside
        )
        os.close(inside)
        mark = None if interrupt_at is None else interrupt_at.encode()
        try:
            async with asyncio.timeout(30):
                shown = await asyncio.to_thread(_everything, terminal, mark, lambda: _interrupt(process.pid))
                assert await process.wait() == (0 if interrupt_at is None else 130), shown
        finally:
            if process.returncode is None:
                process.kill()
            os.close(terminal)
        return shown

    async def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        assert b"Traceback" not in err
        assert b"\x1b" not in out + err, "no terminal, no colours"
        print(*arguments, err.decode(), sep="\n")  # noqa: T201 (pytest shows it where a test fails)
        return Ended(process.returncode, out.decode(), err.decode())
