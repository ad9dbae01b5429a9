"""The memory back end: agents as threads of the server's own process. For tests and for nothing else: it isolates nothing.

It differs from a real back end in what `GAPS` says; the conformance suite holds it to the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sandyard.backends.ends import Ends
from sandyard.backends.memory_agent import AgentThread, Ending
from sandyard.domain.errors import BackendUnavailable, NotSupported, PortClosed, SandboxGone, StartFailed
from sandyard.domain.sandboxes import Isolation
from sandyard.domain.specs import Exited, Found, Started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from sandyard.domain.specs import Mount, SandboxSpec, Saved, Usage

APP = "/app"
END_SECONDS = 5.0
"""How long an agent may take to stand still or to end: only one whose loop is blocked by its own code takes longer."""

GAPS = frozenset({"output", "own_environment", "files", "usage", "guest"})
"""What the conformance suite does not ask of this back end: what agents print goes where the server prints; agents die with the
server; `spec.env`, `spec.limits`, `spec.egress` and `spec.system` are not applied; there are no files of the sandbox's own to save,
nothing to measure, and no guest: what has no command has no port."""

ISOLATION = Isolation(
    backend="memory",
    user="none",
    freeze="tasks",
    notes=("Agents run inside the server's own process: nothing is isolated and no limit is enforced.",),
)

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Sandbox:
    agent: AgentThread
    port: int | None
    started: bool = False
    expiry: asyncio.TimerHandle | None = None
    verbs: asyncio.Lock = field(default_factory=asyncio.Lock)


class MemoryBackend:
    """All ports of a back end in one process; lives in one event loop. It refuses to save and to measure."""

    def __init__(self) -> None:
        self._sandboxes: dict[str, _Sandbox] = {}
        self._ends = Ends()

    async def open(self) -> None:
        """Nothing to adopt: agents die with their server."""

    async def close(self) -> None:
        """Leave: as with every back end, this ends no sandbox."""

    async def shutdown(self) -> None:
        """End every sandbox."""
        async with asyncio.TaskGroup() as tasks:
            for sandbox_id in list(self._sandboxes):
                tasks.create_task(self.stop(sandbox_id))

    async def start(self, spec: SandboxSpec) -> Started:
        """As `ports.Backend.start`. A spec without `ready_port` succeeds at once: nothing is run."""
        if spec.root is not None or spec.restore is not None:
            raise NotSupported("The memory back end has no file system of its own: it starts neither images nor saved sandboxes.")
        if spec.command and spec.ready_port is None:
            self._ends.put(Exited(sandbox_id=spec.sandbox_id, reason="The command exited with code 0", exit_code=0))
            return Started(sandbox_id=spec.sandbox_id, isolation=ISOLATION)
        if spec.sandbox_id in self._sandboxes:
            raise BackendUnavailable(f"The sandbox {spec.sandbox_id} runs already")
        entrypoint = _entrypoint(spec) if spec.command else None
        sandbox = _Sandbox(AgentThread(spec.sandbox_id, entrypoint), spec.ready_port if spec.command else None)
        self._sandboxes[spec.sandbox_id] = sandbox
        try:
            await self._ready(spec, sandbox.agent)
        except BaseException:
            sandbox.agent.end()
            self._forget(spec.sandbox_id)
            raise
        sandbox.started = True
        self._watch(spec.sandbox_id, sandbox)
        await self.extend(spec.sandbox_id, spec.ends_at)
        return Started(sandbox_id=spec.sandbox_id, isolation=ISOLATION)

    async def freeze(self, sandbox_id: str) -> None:
        """As `ports.Backend.freeze`."""
        sandbox = self._living(sandbox_id)
        async with sandbox.verbs:
            try:
                standing = asyncio.wrap_future(sandbox.agent.freeze())
            except RuntimeError as error:
                raise SandboxGone(sandbox_id) from error
            ended = asyncio.wrap_future(sandbox.agent.ended)
            done, _ = await asyncio.wait({standing, ended}, timeout=END_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                raise SandboxGone(sandbox_id)
            if not done:
                sandbox.agent.thaw()
                raise BackendUnavailable(f"The agent of {sandbox_id} blocks its event loop and cannot be frozen")

    async def thaw(self, sandbox_id: str) -> None:
        """As `ports.Backend.thaw`."""
        sandbox = self._living(sandbox_id)
        async with sandbox.verbs:
            sandbox.agent.thaw()

    async def stop(self, sandbox_id: str) -> None:
        """As `ports.Backend.stop`; a thread that its own code blocks for ever is left behind, with a warning."""
        sandbox = self._forget(sandbox_id)
        if sandbox is None:
            return
        sandbox.agent.end()
        done, _ = await asyncio.wait({asyncio.wrap_future(sandbox.agent.ended)}, timeout=END_SECONDS)
        if not done:
            log.warning("agent_thread_left_behind", sandbox_id=sandbox_id)

    async def list(self) -> Sequence[Found]:
        """As `ports.Backend.list`."""
        return [
            Found(sandbox_id=sandbox_id, frozen=sandbox.agent.frozen, isolation=ISOLATION)
            for sandbox_id, sandbox in self._sandboxes.items()
            if sandbox.started
        ]

    async def extend(self, sandbox_id: str, ends_at: float) -> None:
        """As `ports.Supervision.extend`; the loop's timer is who ends it."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        if sandbox.expiry is not None:
            sandbox.expiry.cancel()
        loop = asyncio.get_running_loop()
        sandbox.expiry = loop.call_later(max(0.0, ends_at - time.time()), self._expire, sandbox_id, sandbox)

    async def exits(self) -> AsyncIterator[Exited]:
        """As `ports.Supervision.exits`."""
        async for exited in self._ends.told():
            yield exited

    async def ended(self, sandbox_id: str) -> Exited | None:
        """As `ports.Supervision.ended`."""
        return self._ends.get(sandbox_id)

    async def output(self, sandbox_id: str, offset: int = 0) -> tuple[bytes, int]:  # noqa: ARG002 (the port's signature)
        """Nothing: what an agent prints cannot be told from what the server prints."""
        return b"", offset

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """As `ports.Dialer.connect`; only `ready_port` is ever open."""
        sandbox = self._living(sandbox_id)
        if port != sandbox.port:
            raise PortClosed(f"Nothing listens on port {port} of {sandbox_id}")
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, sandbox.agent.listening.result())
        except OSError as error:
            connection.close()
            raise SandboxGone(sandbox_id) from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def save(self, sandbox_id: str, into: Path) -> Saved:  # noqa: ARG002 (the port's signature)
        """As `ports.Snapshots.save`: there is nothing to save."""
        self._living(sandbox_id)
        raise NotSupported("The memory back end has no file system of its own: there is nothing to save.")

    async def usage(self, sandbox_id: str) -> Usage:
        """As `ports.Meters.usage`: what an agent uses cannot be told from what the server uses."""
        self._living(sandbox_id)
        raise NotSupported("The memory back end runs agents inside the server's own process and measures nothing.")

    async def mount(self, sandbox_id: str, mount: Mount) -> None:  # noqa: ARG002 (the port's signature)
        """As `ports.Mounts.mount`: there is no file system to mount anything in."""
        self._living(sandbox_id)
        raise NotSupported("The memory back end has no file system of its own: there is nothing to mount a volume in.")

    async def unmount(self, sandbox_id: str, mount: Mount, *, force: bool) -> None:  # noqa: ARG002 (the port's signature)
        """As `mount`."""
        await self.mount(sandbox_id, mount)

    async def _ready(self, spec: SandboxSpec, agent: AgentThread) -> None:
        """Return when the agent listens.

        Raises:
            StartFailed: it ended, or did not listen in time.
        """
        listening, ended = asyncio.wrap_future(agent.listening), asyncio.wrap_future(agent.ended)
        await asyncio.wait({listening, ended}, timeout=spec.ready_timeout, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise StartFailed(_exited(spec.sandbox_id, ended.result()))
        if not listening.done():
            reason = f"The agent did not listen on port {spec.ready_port} within {spec.ready_timeout:g} seconds"
            raise StartFailed(Exited(sandbox_id=spec.sandbox_id, reason=reason))
        if spec.sandbox_id not in self._sandboxes:
            raise StartFailed(Exited(sandbox_id=spec.sandbox_id, reason="The sandbox was stopped while it started"))

    def _watch(self, sandbox_id: str, sandbox: _Sandbox) -> None:
        """Report the agent's end, unless `stop` or the end of its time has taken the sandbox away before."""
        loop = asyncio.get_running_loop()

        def ended(ending: Future[Ending]) -> None:
            with contextlib.suppress(RuntimeError):  # the server's loop is closed
                loop.call_soon_threadsafe(report, ending.result())

        def report(ending: Ending) -> None:
            if self._sandboxes.get(sandbox_id) is sandbox:
                self._forget(sandbox_id)
                self._ends.put(_exited(sandbox_id, ending))

        sandbox.agent.ended.add_done_callback(ended)

    def _expire(self, sandbox_id: str, sandbox: _Sandbox) -> None:
        self._forget(sandbox_id)
        sandbox.agent.end()
        self._ends.put(Exited(sandbox_id=sandbox_id, reason="The sandbox reached the end of its time"))

    def _forget(self, sandbox_id: str) -> _Sandbox | None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None and sandbox.expiry is not None:
            sandbox.expiry.cancel()
        return sandbox

    def _living(self, sandbox_id: str) -> _Sandbox:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.started:
            raise SandboxGone(f"The sandbox {sandbox_id} does not live")
        return sandbox


def _entrypoint(spec: SandboxSpec) -> Path:
    """Return the host's path of the command's script, which lies below the mount at `/app`."""
    for mount in spec.mounts:
        if mount.target == APP:
            return mount.source / spec.command[1]
    raise BackendUnavailable(f"The memory back end runs what is mounted at {APP} only")


def _exited(sandbox_id: str, ending: Ending) -> Exited:
    reason = f"The agent exited with code {ending.exit_code}"
    return Exited(sandbox_id=sandbox_id, reason=reason, exit_code=ending.exit_code, output=ending.output)
