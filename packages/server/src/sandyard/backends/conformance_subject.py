"""What the conformance suite is asked of: a back end, and how its sandboxes are made and spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sandyard.backends import conformance_agent
from sandyard.domain.specs import AGENT_PORT, Mount, SandboxSpec
from sandyard.ports import Backend, Dialer, Meters, Snapshots, Supervision

if TYPE_CHECKING:
    from collections.abc import Callable

AGENT = Path(conformance_agent.__file__).read_text(encoding="utf-8")


class Whole(Backend, Supervision, Dialer, Snapshots, Meters, Protocol):
    """What a back end's object is: all five ports."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A back end under proof.

    `command` makes the argument vector that runs a script in `/app`; `directory` is an empty one for agents; `gaps` are names
    out of: "output" (what agents print is not kept), "own_environment" (`spec.env` is not applied), "files" (nothing is saved),
    "usage" (nothing is measured), "guest" (a sandbox without a command has no port). Of the last three a back end says so.
    """

    backend: Whole
    directory: Path
    command: Callable[[str], tuple[str, ...]]
    gaps: frozenset[str] = frozenset()

    def spec(
        self, sandbox_id: str = "c0", source: str = AGENT, *, ready_port: int | None = AGENT_PORT, ready_timeout: float = 30.0
    ) -> SandboxSpec:
        """Return the spec of a sandbox that runs `source`."""
        app = self.directory / sandbox_id
        app.mkdir()
        (app / "agent.py").write_text(source, encoding="utf-8")
        return SandboxSpec(
            sandbox_id=sandbox_id,
            command=self.command("agent.py"),
            cwd="/app",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PORT": str(AGENT_PORT), "FLAVOUR": sandbox_id},
            mounts=(Mount(app, "/app", "overlay"),),
            ready_port=ready_port,
            ready_timeout=ready_timeout,
            ends_at=time.time() + 600,
        )

    async def start(self, sandbox_id: str = "c0") -> str:
        """Start the suite's agent."""
        started = await self.backend.start(self.spec(sandbox_id))
        assert started.sandbox_id == sandbox_id
        return sandbox_id

    async def ask(self, sandbox_id: str, path: str = "/") -> str:
        """Return what the agent answers."""
        head, _, body = (await self.exchange(sandbox_id, path)).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0] + b" ", head
        return body.decode()

    async def exchange(self, sandbox_id: str, path: str) -> bytes:
        """Send a request; return every byte until the connection ends, also where it ends too early."""
        connection = await self.backend.connect(sandbox_id, AGENT_PORT)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nhost: agent\r\n\r\n".encode())
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def give(self, sandbox_id: str, seconds: float) -> None:
        """Let a sandbox end `seconds` from now."""
        await self.backend.extend(sandbox_id, time.time() + seconds)

    async def living(self) -> dict[str, bool]:
        """Return the ids that live, each with whether it is frozen."""
        return {found.sandbox_id: found.frozen for found in await self.backend.list()}
