"""The state changes of a sandbox, each one conditional row change followed by the act it stands for.

A server that dies between the two leaves the row as the wish; `reconcile` makes it true again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.catalog import Route
from sandyard.domain.errors import BackendError, SandboxGone, StartFailed, StoreError
from sandyard.domain.sandboxes import Sandbox, SandboxState
from sandyard.services.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sandyard.domain.specs import Exited, SandboxSpec, Started
    from sandyard.services.admission import Admission
    from sandyard.services.context import Context
    from sandyard.services.deadlines import Deadlines

LIVING = (SandboxState.STARTING, SandboxState.RUNNING, SandboxState.PAUSED)
PAUSED_SECONDS = 24 * 3600.0
"""How long a paused sandbox is kept: it holds its memory and its place."""
KEEPER_GRACE = 2.0
"""Seconds that the back end's own timer is behind ours: it is for the time when no server runs."""
_CLEANUP_SECONDS = 30.0
_RETRY_SECONDS = 5.0
"""After an end that could not be noted or carried out: the disk may be full, the keeper may be being replaced."""
_log = structlog.get_logger("sandyard.lifecycle")


class Lifecycle:
    """Launch, pause, resume, end: what callers, time-outs, exits and the reconcile loop have in common."""

    def __init__(self, context: Context, admission: Admission, deadlines: Deadlines) -> None:
        self._rows = context.store.sandboxes
        self._backend = context.backend
        self._supervision = context.supervision
        self._catalog = context.catalog
        self._tokens = context.tokens
        self._clock = context.clock
        self._admission = admission
        self._deadlines = deadlines
        self._locks = Locks()

    async def launch(self, sandbox: Sandbox, *, agent: str, spec: SandboxSpec, seconds: float) -> Sandbox:
        """Start `sandbox` (a new row, "starting"); return it running, with `seconds` to live from now.

        However it fails, or is cancelled, the row is final and nothing of the sandbox is left.

        Raises:
            ApiError: 429, before there is a row.
            StartFailed: the agent's fault.
            BackendUnavailable: the platform's fault.
            SandboxGone: it was killed meanwhile.
        """
        async with self._admission.start(sandbox.id):
            try:
                await self._rows.add(sandbox)
                self.enter(sandbox, agent)
                started = await self._backend.start(spec)
                return await self._started(started, seconds)
            except StartFailed as failure:
                await self._give_up(sandbox.id, failure.exited.reason, failure.exited)
                raise
            except BackendError as failure:
                await self._give_up(sandbox.id, str(failure))
                raise
            except BaseException:
                await self._give_up(sandbox.id, "The start was given up")
                raise

    def enter(self, sandbox: Sandbox, agent: str) -> None:
        """Make a sandbox known to the ingress."""
        self._catalog.put(
            Route(
                sandbox_id=sandbox.id,
                owner=sandbox.owner,
                agent=agent,
                state=sandbox.state,
                access_token=self._tokens.access_token(sandbox.id),
                public=sandbox.public,
                reason=sandbox.reason,
                exit_code=sandbox.exit_code,
                output=sandbox.output,
            )
        )

    def adopt(self, sandbox: Sandbox, agent: str) -> None:
        """Take over a living sandbox of an earlier server."""
        self._admission.adopt(sandbox.id)
        self.enter(sandbox, agent)
        self._deadlines.put(sandbox.id, sandbox.ends_at)

    async def pause(self, sandbox_id: str) -> Sandbox | None:
        """Freeze a running sandbox and return its row, or None if it does not run.

        Raises:
            SandboxGone: it ended before it could be frozen.
        """
        async with self._locks.of(sandbox_id):
            ends_at = self._clock.now() + PAUSED_SECONDS
            row = await self._rows.change(sandbox_id, [SandboxState.RUNNING], state=SandboxState.PAUSED, ends_at=ends_at)
            if row is None:
                return None
            self._show(row)
            await self._or_lost(row, self._backend.freeze(sandbox_id))
            await self._schedule(row)
            return row

    async def resume(self, sandbox_id: str, seconds: float) -> Sandbox | None:
        """Thaw a paused sandbox, give it `seconds` and return its row, or None if it is not paused.

        Raises:
            SandboxGone: it ended while it was paused.
        """
        async with self._locks.of(sandbox_id):
            ends_at = self._clock.now() + seconds
            row = await self._rows.change(sandbox_id, [SandboxState.PAUSED], state=SandboxState.RUNNING, ends_at=ends_at)
            if row is None:
                return None
            await self._schedule(row)
            await self._or_lost(row, self._backend.thaw(sandbox_id))
            self._show(row)
            return row

    async def set_end(self, sandbox_id: str, seconds: float, *, only_later: bool = False) -> Sandbox | None:
        """Let a running sandbox end `seconds` from now; return its row, or None if it does not run."""
        async with self._locks.of(sandbox_id):
            row = await self._rows.get(sandbox_id)
            ends_at = self._clock.now() + seconds
            if row is not None and row.state is SandboxState.RUNNING and only_later and row.ends_at >= ends_at:
                return row
            row = await self._rows.change(sandbox_id, [SandboxState.RUNNING], ends_at=ends_at)
            if row is not None:
                await self._schedule(row)
            return row

    async def end(self, sandbox_id: str, state: SandboxState, reason: str, exited: Exited | None = None) -> bool:
        """Make the row final and leave nothing of the sandbox; False if it was final already."""
        how = {} if exited is None else {"exit_code": exited.exit_code, "output": exited.output}
        row = await self._rows.change(sandbox_id, LIVING, state=state, reason=reason, **how)
        if row is None:
            return False
        self._deadlines.drop(sandbox_id)
        self._show(row)
        await self._backend.stop(sandbox_id)
        self._admission.release(sandbox_id)
        _log.info("sandbox ended", sandbox=sandbox_id, state=state.value, reason=reason)
        return True

    async def exited(self, exited: Exited) -> None:
        """Take note of a sandbox that ended by itself."""
        try:
            await self.end(exited.sandbox_id, SandboxState.FAILED, exited.reason, exited)
        except (BackendError, StoreError) as error:
            _log.warning("a sandbox that ended could not be cleared away", sandbox=exited.sandbox_id, error=str(error))
            self._deadlines.put(exited.sandbox_id, self._clock.now() + _RETRY_SECONDS)

    async def due(self, sandbox_id: str) -> None:
        """Pause or kill a sandbox whose time is up, note the end of one that has ended; put off what is not due yet."""
        try:
            await self._due(sandbox_id)
        except (BackendError, StoreError) as error:
            _log.warning("a time-out could not be carried out", sandbox=sandbox_id, error=str(error))
            self._deadlines.put(sandbox_id, self._clock.now() + _RETRY_SECONDS)

    async def _due(self, sandbox_id: str) -> None:
        row = await self._rows.get(sandbox_id)
        if row is None or row.state.final:
            return
        exited = await self._supervision.ended(sandbox_id)
        if exited is not None:
            await self.end(sandbox_id, SandboxState.FAILED, exited.reason, exited)
        elif row.ends_at > self._clock.now():
            self._deadlines.put(sandbox_id, row.ends_at)
        elif row.state is SandboxState.RUNNING and row.on_timeout == "pause":
            await self.pause(sandbox_id)
        else:
            await self.end(sandbox_id, SandboxState.STOPPED, "Its time was up")

    async def _started(self, started: Started, seconds: float) -> Sandbox:
        ends_at = self._clock.now() + seconds
        row = await self._rows.change(
            started.sandbox_id,
            [SandboxState.STARTING],
            state=SandboxState.RUNNING,
            isolation=started.isolation,
            ends_at=ends_at,
        )
        if row is None:
            raise SandboxGone("The sandbox was closed while it started")
        await self._schedule(row)
        self._show(row)
        return row

    async def _schedule(self, row: Sandbox) -> None:
        self._deadlines.put(row.id, row.ends_at)
        pausing = PAUSED_SECONDS if row.state is SandboxState.RUNNING and row.on_timeout == "pause" else 0.0
        await self._supervision.extend(row.id, row.ends_at + pausing + KEEPER_GRACE)

    def _show(self, row: Sandbox) -> None:
        route = self._catalog.get(row.id)
        if route is not None:
            shown = replace(route, state=row.state, reason=row.reason, exit_code=row.exit_code, output=row.output)
            self._catalog.put(shown)

    async def _or_lost(self, row: Sandbox, act: Awaitable[None]) -> None:
        try:
            await act
        except SandboxGone:
            exited = await self._supervision.ended(row.id)
            await self.end(row.id, SandboxState.FAILED, exited.reason if exited else "The sandbox ended while nobody looked", exited)
            raise

    async def _give_up(self, sandbox_id: str, reason: str, exited: Exited | None = None) -> None:
        """Clean up after a failed or cancelled start; shielded, since the canceller does not wait for what it left."""
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            try:
                await self.end(sandbox_id, SandboxState.FAILED, reason, exited)
            finally:
                await self._backend.stop(sandbox_id)
