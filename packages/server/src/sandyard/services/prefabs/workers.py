"""Warm sandboxes: one for each (tenant, prefab version), started on demand, ended after idle time or when room is needed."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import structlog

from sandkit.prefabs.frames import PORT
from sandkit.wire.errors import ApiError
from sandkit.wire.gateway import UNAVAILABLE, Refusal
from sandyard.domain.errors import BackendError, PortClosed, SandboxGone, StartFailed
from sandyard.services.ids import new_id
from sandyard.services.prefabs.owned import Owned
from sandyard.services.prefabs.places import START_SECONDS, worker_spec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sandyard.domain.prefabs import Manifest
    from sandyard.domain.specs import Exited
    from sandyard.services.admission import Admission
    from sandyard.services.context import Context
    from sandyard.services.exits import Exits

_SPARE_SECONDS = 120.0
"""How much longer the keeper lets a sandbox live than we need it: it is for the time when no server runs."""
_STOP_SECONDS = 30.0
_SPARES = 2
_log = structlog.get_logger("sandyard.prefabs")


@dataclass(slots=True, eq=False)
class Worker:
    """One warm sandbox. `active` counts its calls; `ends_at` is when its keeper would end it."""

    id: str
    key: tuple[str, str]
    ends_at: float
    active: int = 0
    used_at: float = 0.0
    ended: asyncio.Future[Exited] | None = None
    ready: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    spares: deque[socket.socket] = field(default_factory=deque[socket.socket])
    """Connections for the next calls, made ahead: dialling and forking are not what a caller waits for."""
    dialling: int = 0


class Workers:
    """Owns the sandboxes of all prefabs. Each one has a task that starts it, waits for its end, and leaves nothing."""

    def __init__(self, context: Context, exits: Exits, admission: Admission) -> None:
        self._context = context
        self._settings = context.settings
        self._exits = exits
        self._admission = admission
        self._workers: dict[tuple[str, str], Worker] = {}
        self._tasks = Owned()

    async def run(self) -> None:
        """Own the sandboxes until cancelled; then they end with the server's other ones."""
        async with self._tasks.open():
            while True:
                await asyncio.sleep(min(30.0, self._settings.gateway.idle))
                self._retire(self._context.clock.now() - self._settings.gateway.idle)

    @asynccontextmanager
    async def borrow(self, tenant: str, version_id: str, manifest: Manifest) -> AsyncGenerator[Worker]:
        """Hold the tenant's warm sandbox of that version, started if need be.

        Raises:
            Refusal: UNAVAILABLE; it cannot be started now.
        """
        worker = self._workers.get((tenant, version_id)) or self._begin(tenant, version_id, manifest)
        worker.active += 1
        try:
            await asyncio.shield(worker.ready)
            await self._extend(worker)
            yield worker
        finally:
            worker.active -= 1
            worker.used_at = self._context.clock.now()
            self._dial_ahead(worker)

    async def connect(self, worker: Worker) -> socket.socket:
        """Return a connection to the runner, behind which a process waits for its call.

        Raises:
            SandboxGone: the sandbox has ended; another `borrow` starts a new one.
        """
        try:
            sock = _spare(worker) or await self._context.dialer.connect(worker.id, PORT)
        except (SandboxGone, PortClosed, OSError) as error:
            self.condemn(worker)
            raise SandboxGone(f"The prefab's sandbox has ended: {error}") from error
        return sock

    def _dial_ahead(self, worker: Worker) -> None:
        """Have connections ready; one more than a caller needs who calls again at once."""
        if worker.leave.is_set():
            return
        for _ in range(_SPARES - len(worker.spares) - worker.dialling):
            if self._tasks.begin(self._dial(worker)) is not None:
                worker.dialling += 1

    async def _dial(self, worker: Worker) -> None:
        try:
            sock = await self._context.dialer.connect(worker.id, PORT)
        except (SandboxGone, PortClosed, OSError):
            return  # the next call finds out for itself
        finally:
            worker.dialling -= 1
        if worker.leave.is_set():
            sock.close()
        else:
            worker.spares.append(sock)

    async def reason(self, worker: Worker, seconds: float) -> str | None:
        """Return why the sandbox ended, if it does so within `seconds`."""
        if worker.ended is None:
            return None
        await asyncio.wait([worker.ended], timeout=seconds)
        done = worker.ended.done() and not worker.ended.cancelled()
        return worker.ended.result().reason if done else None

    def condemn(self, worker: Worker) -> None:
        """End a sandbox that does not answer as it should; the next call has a new one."""
        self._drop(worker)
        worker.leave.set()

    def retire(self, version_id: str) -> None:
        """End the idle sandboxes of a version."""
        for worker in list(self._workers.values()):
            if worker.key[1] == version_id and not worker.active:
                self.condemn(worker)

    def _retire(self, before: float) -> None:
        for worker in list(self._workers.values()):
            if worker.ready.done() and not worker.active and worker.used_at < before:
                self.condemn(worker)

    def _begin(self, tenant: str, version_id: str, manifest: Manifest) -> Worker:
        now = self._context.clock.now()
        worker = Worker(id=new_id("worker"), key=(tenant, version_id), ends_at=now + START_SECONDS + self._lease, used_at=now)
        if self._tasks.begin(self._live(worker, manifest)) is None:
            raise Refusal(UNAVAILABLE, "The server is ending", retry_after=5)
        self._workers[worker.key] = worker
        return worker

    @property
    def _lease(self) -> float:
        gateway = self._settings.gateway
        return gateway.call_timeout + gateway.idle + _SPARE_SECONDS

    async def _extend(self, worker: Worker) -> None:
        """Let the keeper know that the sandbox is needed; seldom, since it costs a message."""
        now = self._context.clock.now()
        if worker.ends_at - now < self._settings.gateway.call_timeout + _SPARE_SECONDS / 2:
            worker.ends_at = now + self._lease
            await self._context.supervision.extend(worker.id, worker.ends_at)

    async def _live(self, worker: Worker, manifest: Manifest) -> None:
        """Start the sandbox, wait until it ends or shall end, and leave nothing of it. Never raises."""
        with self._exits.watch(worker.id) as ended:
            worker.ended = ended
            try:
                await self._start(worker, manifest)
                leaving = asyncio.ensure_future(worker.leave.wait())
                try:
                    await asyncio.wait((ended, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    leaving.cancel()
                if ended.done():
                    _log.warning("a prefab's sandbox ended", worker=worker.id, reason=ended.result().reason)
            except (Refusal, BackendError) as error:
                self._failed(worker, error)
            except Exception as error:  # noqa: BLE001 (whoever waits hears of it, the log knows more)
                _log.exception("a prefab's sandbox could not be started", worker=worker.id)
                self._failed(worker, error)
            finally:
                self._drop(worker)
                worker.leave.set()
                _hang_up(worker)
                if not worker.ready.done():
                    worker.ready.cancel()
                with anyio.move_on_after(_STOP_SECONDS, shield=True):
                    await self._context.backend.stop(worker.id)
                self._admission.release(worker.id)

    async def _start(self, worker: Worker, manifest: Manifest) -> None:
        while not worker.ready.done():
            try:
                await self._admit(worker, manifest)
                worker.ready.set_result(None)
                self._dial_ahead(worker)
            except ApiError as error:
                if not self._make_room():
                    raise Refusal(UNAVAILABLE, f"No sandbox can be started now: {error.message}", retry_after=5) from None

    async def _admit(self, worker: Worker, manifest: Manifest) -> None:
        spec = worker_spec(self._settings, worker.key[1], manifest, worker.id, ends_at=worker.ends_at)
        async with self._admission.start(worker.id):
            await self._context.backend.start(spec)

    def _make_room(self) -> bool:
        """End the sandbox that was idle for longest; False where all work."""
        idle = [worker for worker in self._workers.values() if worker.ready.done() and not worker.active]
        if not idle:
            return False
        oldest = min(idle, key=lambda worker: worker.used_at)
        self.condemn(oldest)
        self._admission.release(oldest.id)
        return True

    def _failed(self, worker: Worker, error: Exception) -> None:
        _log.warning("a prefab's sandbox did not start", worker=worker.id, error=str(error))
        if worker.ready.done():
            return
        if isinstance(error, StartFailed):
            refusal = Refusal(UNAVAILABLE, f"The prefab did not start: {error.exited.reason}", log=error.exited.output[-2000:])
        elif isinstance(error, Refusal):
            refusal = error
        else:
            refusal = Refusal(UNAVAILABLE, "The platform cannot start the prefab's sandbox now", retry_after=5)
        worker.ready.set_exception(refusal)
        worker.ready.exception()  # perhaps nobody waits any more

    def _drop(self, worker: Worker) -> None:
        if self._workers.get(worker.key) is worker:
            del self._workers[worker.key]


def _spare(worker: Worker) -> socket.socket | None:
    """Take a connection that was made ahead, if there is one whose process still waits."""
    while worker.spares:
        sock = worker.spares.popleft()
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return sock
        except OSError:
            pass
        sock.close()  # something came, or the end: the process has ended, by whatever hand
    return None


def _hang_up(worker: Worker) -> None:
    """Close the connections that were made ahead."""
    while worker.spares:
        worker.spares.pop().close()
