"""The chosen back end, with what it needs; only that one is loaded."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Protocol

from sandyard.config import Settings
from sandyard.domain.specs import SandboxSpec
from sandyard.egress import EgressProxy
from sandyard.ports import Backend, Dialer, Meters, Snapshots, Supervision
from sandyard.ports_sandboxes import Mounts
from sandyard.services.ids import new_id

if TYPE_CHECKING:
    from sandyard.domain.sandboxes import Isolation
    from sandyard.egress.inner import Inner


class WholeBackend(Backend, Supervision, Dialer, Snapshots, Meters, Mounts, Protocol):
    """A back end as the composition root holds it."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def shutdown(self) -> None: ...


def open_egress(stack: AsyncExitStack, inner: Inner | None = None) -> EgressProxy:
    """Return the sandboxes' way out, to the world and to `inner`; `stack` closes it."""
    egress = EgressProxy(inner=inner)
    stack.push_async_callback(egress.aclose)
    return egress


async def open_backend(settings: Settings, egress: EgressProxy, stack: AsyncExitStack) -> WholeBackend:
    """Open the back end that `settings` name, its sandboxes' way out being `egress`; `stack` closes it.

    Raises:
        BackendUnavailable: no sandbox can be started on this machine; the message says which knob forbids it.
    """
    backend = _memory() if settings.backend == "memory" else _process(settings, egress)
    stack.push_async_callback(backend.close)
    await backend.open()
    return backend


async def examine(name: Literal["process", "memory"]) -> Isolation:
    """Start one sandbox that does nothing, end it, and return the isolation that it had.

    Raises:
        BackendError: no sandbox starts here; the message says why.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="sandyard-doctor-"))
        egress = open_egress(stack)
        backend = await open_backend(Settings(data_dir=Path(directory), backend=name), egress, stack)
        stack.push_async_callback(backend.shutdown)
        spec = SandboxSpec(sandbox_id=new_id("sandbox"), command=("/bin/sleep", "30"), ready_port=None, ends_at=time.time() + 30)
        started = await backend.start(spec)
        await backend.stop(started.sandbox_id)
    return started.isolation


def _memory() -> WholeBackend:
    from sandyard.backends.memory import MemoryBackend  # noqa: PLC0415 (only the chosen one is loaded)

    return MemoryBackend()


def _process(settings: Settings, egress: EgressProxy) -> WholeBackend:
    from sandyard.backends.process.backend import ProcessBackend  # noqa: PLC0415

    return ProcessBackend(settings.data_dir, attach_egress=egress.attach, detach_egress=egress.detach, isolation=settings.isolation)
