"""Bad actors: back ends that fail in one way each, for the tests of what stands above them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandyard.backends.memory import MemoryBackend
from sandyard.domain.errors import StartFailed
from sandyard.domain.specs import Exited

if TYPE_CHECKING:
    from sandyard.domain.specs import SandboxSpec, Started


class NeverReady(MemoryBackend):
    """No agent ever listens: each start takes its whole `ready_timeout` and fails."""

    async def start(self, spec: SandboxSpec) -> Started:
        await asyncio.sleep(spec.ready_timeout)
        raise StartFailed(Exited(sandbox_id=spec.sandbox_id, reason=f"The agent did not listen within {spec.ready_timeout:g} seconds"))


class DiesOnStart(MemoryBackend):
    """Every agent exits at once with code 1 and a last line."""

    async def start(self, spec: SandboxSpec) -> Started:
        exited = Exited(
            sandbox_id=spec.sandbox_id, reason="The agent exited with code 1", exit_code=1, output="ImportError: no such module"
        )
        raise StartFailed(exited)


class SlowBackend(MemoryBackend):
    """Starts wait until the test sets `release`; `waiting` counts those that do."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()
        self.waiting = 0

    async def start(self, spec: SandboxSpec) -> Started:
        self.waiting += 1
        try:
            await self.release.wait()
        finally:
            self.waiting -= 1
        return await super().start(spec)
