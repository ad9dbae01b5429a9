"""How a server runs and ends: it owns everything that runs."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.app.listening import listen, reachable
from sandyard.app.platform import compose
from sandyard.domain.sandboxes import SandboxState
from sandyard.services.data_dir import DataDir
from sandyard.services.lifecycle import LIVING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sandyard.app.listening import Listeners
    from sandyard.app.platform import Platform
    from sandyard.config import Settings
    from sandyard.services.data_dir import ServerInfo

_RECONCILE_SECONDS = 60.0
_SHUTDOWN_SECONDS = 30.0
_log = structlog.get_logger("sandyard")


async def serve(settings: Settings, announce: Callable[[ServerInfo], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is called when both listeners are open and adoption is done.

    Raises:
        DataDirError: the data directory cannot be used, or another server holds it.
        BackendUnavailable: no sandbox can be started on this machine; the message says which knob forbids it.
    """
    data = DataDir.open(settings.data_dir)
    with data.held(), _stop_signals() as stop:
        async with AsyncExitStack() as stack:
            platform = await compose(settings, stack)
            await platform.reconciler.adopt()
            await platform.templates.sweep()
            await platform.templates.prepare()
            await platform.sandboxes.company.states.sweep()
            await platform.sandboxes.company.volumes.sweep()
            await platform.gateway.recover()
            listeners = await listen(settings, platform.api, platform.ingress, stack)
            platform.context.addresses.domain = listeners.info.domain
            platform.inner.address = reachable(listeners.api_socket)
            with data.announced(listeners.info):
                announce(listeners.info)
                await _run(platform, listeners, stop)
            with anyio.move_on_after(_SHUTDOWN_SECONDS, shield=True):
                await _end_all(platform)
                await platform.backend.shutdown()
            _log.info("ended; nothing is left running")


async def _run(platform: Platform, listeners: Listeners, stop: asyncio.Event) -> None:
    """Serve until `stop`, then drain; every loop ends with this."""
    async with anyio.create_task_group() as loops:
        for loop in platform.loops:
            loops.start_soon(loop)
        loops.start_soon(_reconcile, platform)
        async with anyio.create_task_group() as api:
            api.start_soon(platform.api.serve, [listeners.api_socket])
            await stop.wait()
            _log.info("draining", seconds=platform.settings.drain_timeout)
            platform.wakes.close()
            if listeners.tls is not None:
                listeners.tls.close()
            platform.api.should_exit = True
            await platform.ingress.aclose()
        loops.cancel_scope.cancel()


async def _reconcile(platform: Platform) -> None:
    while True:
        await anyio.sleep(_RECONCILE_SECONDS)
        try:
            await platform.reconciler.run_once(busy=platform.admission.starting | platform.exits.watched)
        except Exception:  # noqa: BLE001 (logged; the next round may go well)
            _log.exception("reconcile failed")


async def _end_all(platform: Platform) -> None:
    async with anyio.create_task_group() as tasks:
        for row in await platform.context.store.sandboxes.list(states=LIVING, limit=100_000):
            tasks.start_soon(platform.lifecycle.end, row.id, SandboxState.STOPPED, "The server was shut down")


@contextmanager
def _stop_signals() -> Generator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
