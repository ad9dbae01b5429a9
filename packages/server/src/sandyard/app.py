"""The composition root: the only file that names concrete classes. `serve` owns everything that runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import anyio
import structlog
import uv
import uvicorn

from sandyard.blobs.objects import ObjectBlobs
from sandyard.catalog import Catalog
from sandyard.config import Settings
from sandyard.domain.sandboxes import SandboxState
from sandyard.domain.specs import SandboxSpec
from sandyard.egress.policy import read_entry
from sandyard.ingress import Ingress, IngressLimits
from sandyard.ports import Backend, Dialer, Supervision
from sandyard.services.admission import Admission
from sandyard.services.context import Context
from sandyard.services.data_dir import API_KEY, DATABASE, DataDir, ServerInfo
from sandyard.services.deadlines import Deadlines
from sandyard.services.exits import Exits
from sandyard.services.ids import new_id
from sandyard.services.keys import Keys, is_platform_key
from sandyard.services.lifecycle import LIVING, Lifecycle
from sandyard.services.reconcile import Reconciler
from sandyard.services.sandboxes import Sandboxes
from sandyard.services.secrets_dir import create_once
from sandyard.services.signatures import Signatures
from sandyard.services.templates import Templates
from sandyard.services.tokens import Tokens
from sandyard.services.wakes import Wakes
from sandyard.store.sqlite import SqliteStore
from sandyard.web.api import create_api
from sandyard.web.parts import Parts
from sandyard.work.builds import Builder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from sandyard.domain.sandboxes import Isolation

T = TypeVar("T")

_RECONCILE_SECONDS = 60.0
_SHUTDOWN_SECONDS = 30.0
_log = structlog.get_logger("sandyard")


class _WholeBackend(Backend, Supervision, Dialer, Protocol):
    """A back end as the composition root holds it."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def shutdown(self) -> None: ...


class SystemClock:
    """`ports.Clock` on the system's."""

    def now(self) -> float:
        return time.time()


class _Api(uvicorn.Server):
    """uvicorn without its signal handlers: `serve` has its own."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listeners:
    """What clients reach; connections wait in the kernel until `_run` takes them."""

    info: ServerInfo
    api_socket: socket.socket


@dataclass(frozen=True, slots=True, kw_only=True)
class _Platform:
    """Everything that one server consists of."""

    settings: Settings
    context: Context
    backend: _WholeBackend
    keys: Keys
    exits: Exits
    deadlines: Deadlines
    admission: Admission
    lifecycle: Lifecycle
    reconciler: Reconciler
    templates: Templates
    builder: Builder
    wakes: Wakes
    api: _Api
    ingress: Ingress


async def serve(settings: Settings, announce: Callable[[ServerInfo], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is called when both listeners are open and adoption is done.

    Raises:
        DataDirError: the data directory cannot be used, or another server holds it.
        BackendUnavailable: no sandbox can be started on this machine; the message says which knob forbids it.
    """
    data = DataDir.open(settings.data_dir)
    with data.held(), _stop_signals() as stop:
        async with AsyncExitStack() as stack:
            platform = await _compose(settings, stack)
            await platform.reconciler.adopt()
            await platform.templates.sweep()
            listeners = await _listen(platform, stack)
            with data.announced(listeners.info):
                announce(listeners.info)
                await _run(platform, listeners, stop)
            with anyio.move_on_after(_SHUTDOWN_SECONDS, shield=True):
                await _end_all(platform)
                await platform.backend.shutdown()
            _log.info("ended; nothing is left running")


async def with_keys(data_dir: Path, work: Callable[[Keys], Coroutine[object, object, T]]) -> T:
    """Run `work` on the keys of a data directory, beside its server or without one."""
    store = await SqliteStore.open(data_dir / DATABASE)
    try:
        return await work(await Keys.open(store.keys, SystemClock(), data_dir / "secrets"))
    finally:
        await store.close()


async def examine(name: Literal["process", "memory"]) -> Isolation:
    """Start one sandbox that does nothing, end it, and return the isolation that it had.

    Raises:
        BackendError: no sandbox starts here; the message says why.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="sandyard-doctor-"))
        backend = await _open_backend(Settings(data_dir=Path(directory), backend=name), stack)
        stack.push_async_callback(backend.shutdown)
        spec = SandboxSpec(sandbox_id=new_id("sandbox"), command=("/bin/sleep", "30"), ready_port=None, ends_at=time.time() + 30)
        started = await backend.start(spec)
        await backend.stop(started.sandbox_id)
    return started.isolation


async def _compose(settings: Settings, stack: AsyncExitStack) -> _Platform:
    """Build the platform from its parts; `stack` closes what was opened."""
    secrets_dir = settings.data_dir / "secrets"
    clock = SystemClock()
    store = await SqliteStore.open(settings.data_dir / DATABASE)
    stack.push_async_callback(store.close)
    keys = await Keys.open(store.keys, clock, secrets_dir)
    await _first_key(keys, settings.data_dir / API_KEY)
    tokens = await Tokens.open(secrets_dir, clock)
    backend = await _open_backend(settings, stack)
    catalog = Catalog()
    context = Context(
        settings=settings,
        store=store,
        blobs=ObjectBlobs.local(settings.data_dir / "blobs"),
        backend=backend,
        supervision=backend,
        dialer=backend,
        catalog=catalog,
        tokens=tokens,
        clock=clock,
    )
    ingress = Ingress(
        catalog,
        backend,
        owner_of=keys.owner_of,
        internal_token=tokens.internal_token,
        is_platform_key=is_platform_key,
        limits=IngressLimits(drain_timeout=settings.drain_timeout),
    )
    return _wire(context, backend, keys, ingress)


def _wire(context: Context, backend: _WholeBackend, keys: Keys, ingress: Ingress) -> _Platform:
    settings = context.settings
    wakes = Wakes()
    exits = Exits(context.supervision)
    deadlines = Deadlines(context.clock)
    admission = Admission(places=settings.max_sandboxes, starting=settings.max_starting, queue=settings.start_queue)
    lifecycle = Lifecycle(context, admission, deadlines)
    templates = Templates(context, wakes)
    parts = Parts(
        settings=settings,
        sandboxes=Sandboxes(context, templates, lifecycle),
        templates=templates,
        owner_of=keys.find,
        signatures=Signatures(keys, context.clock),
        check_entry=read_entry,
        clock=context.clock,
    )
    config = uvicorn.Config(
        create_api(parts),
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_timeout),
    )
    return _Platform(
        settings=settings,
        context=context,
        backend=backend,
        keys=keys,
        exits=exits,
        deadlines=deadlines,
        admission=admission,
        lifecycle=lifecycle,
        reconciler=Reconciler(context, lifecycle),
        templates=templates,
        builder=Builder(context, exits, wakes, Path(uv.find_uv_bin())),
        wakes=wakes,
        api=_Api(config),
        ingress=ingress,
    )


async def _open_backend(settings: Settings, stack: AsyncExitStack) -> _WholeBackend:
    """Open the chosen back end; only that one is loaded."""
    backend = _memory() if settings.backend == "memory" else _process(settings, stack)
    stack.push_async_callback(backend.close)
    await backend.open()
    return backend


def _memory() -> _WholeBackend:
    from sandyard.backends.memory import MemoryBackend  # noqa: PLC0415 (see `_open_backend`)

    return MemoryBackend()


def _process(settings: Settings, stack: AsyncExitStack) -> _WholeBackend:
    from sandyard.backends.process.backend import ProcessBackend  # noqa: PLC0415
    from sandyard.egress import EgressProxy  # noqa: PLC0415

    egress = EgressProxy()
    stack.push_async_callback(egress.aclose)
    return ProcessBackend(settings.data_dir, attach_egress=egress.attach, detach_egress=egress.detach, isolation=settings.isolation)


async def _first_key(keys: Keys, path: Path) -> None:
    """Make the key that `sandyard env` prints, on the first start."""
    if not await anyio.Path(path).exists():
        _, text = await keys.create("first start")
        create_once(path, text.encode)


async def _listen(platform: _Platform, stack: AsyncExitStack) -> _Listeners:
    """Open both listeners.

    Raises:
        OSError: an address is taken, or not ours.
    """
    settings = platform.settings
    api_socket = stack.enter_context(_listener(settings.host, settings.api_port))
    _, ingress_port = await platform.ingress.start(settings.host, settings.ingress_port)
    stack.push_async_callback(platform.ingress.aclose)
    api_url = _url(settings.host, api_socket.getsockname()[1])
    return _Listeners(
        info=ServerInfo(pid=os.getpid(), api_url=api_url, sandbox_url=_url(settings.host, ingress_port)),
        api_socket=api_socket,
    )


async def _run(platform: _Platform, listeners: _Listeners, stop: asyncio.Event) -> None:
    """Serve until `stop`, then drain; every loop ends with this."""
    async with anyio.create_task_group() as loops:
        loops.start_soon(platform.exits.run, platform.lifecycle.exited)
        loops.start_soon(platform.deadlines.run, platform.lifecycle.due)
        loops.start_soon(platform.keys.watch)
        loops.start_soon(platform.builder.run)
        loops.start_soon(_reconcile, platform)
        async with anyio.create_task_group() as api:
            api.start_soon(platform.api.serve, [listeners.api_socket])
            await stop.wait()
            _log.info("draining", seconds=platform.settings.drain_timeout)
            platform.wakes.close()
            platform.api.should_exit = True
            await platform.ingress.aclose()
        loops.cancel_scope.cancel()


async def _reconcile(platform: _Platform) -> None:
    while True:
        await anyio.sleep(_RECONCILE_SECONDS)
        try:
            await platform.reconciler.run_once(busy=platform.admission.starting | platform.exits.watched)
        except Exception:  # noqa: BLE001 (logged; the next round may go well)
            _log.exception("reconcile failed")


async def _end_all(platform: _Platform) -> None:
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


def _listener(host: str, port: int) -> socket.socket:
    """Bind and listen. With `proto=0` asyncio would leave TCP_NODELAY off: 44 ms per request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror}: {host}, port {port}") from error
    return sock


def _url(host: str, port: int) -> str:
    """Return the URL for clients on this machine: a wildcard address is reached by loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
