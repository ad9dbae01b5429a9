"""The state changes of a sandbox, each one conditional row change followed by the act it stands for.

A server that dies between the two leaves the row as the wish; `reconcile` makes it true again. A sandbox that is paused without
memory (`Sandbox.saved`) has no processes and no place: its row and a saved state are all there is of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.domain.errors import BackendError, BackendUnavailable, NotSupported, SandboxGone, StartFailed, StoreError
from sandyard.domain.sandboxes import Sandbox, SandboxState
from sandyard.domain.specs import Exited
from sandyard.services import routes, startup
from sandyard.services.guest import GuestError
from sandyard.services.locks import Locks
from sandyard.services.specs import egress_policy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from sandyard.domain.sandboxes import Network
    from sandyard.domain.specs import Started
    from sandyard.services.admission import Admission
    from sandyard.services.blueprints import Blueprint
    from sandyard.services.company import Company
    from sandyard.services.context import Context
    from sandyard.services.deadlines import Deadlines

LIVING = (SandboxState.STARTING, SandboxState.RUNNING, SandboxState.PAUSED)
PAUSED_SECONDS = 24 * 3600.0
"""How long a paused sandbox is kept: it holds its memory and its place."""
SAVED_SECONDS = 30 * 24 * 3600.0
"""How long a sandbox is kept that is paused without memory: it holds disk only."""
KEEPER_GRACE = 2.0
"""Seconds that the back end's own timer is behind ours: it is for the time when no server runs."""
_CLEANUP_SECONDS = 30.0
_RETRY_SECONDS = 5.0
"""After an end that could not be noted or carried out: the disk may be full, the keeper may be being replaced."""
_log = structlog.get_logger("sandyard.lifecycle")


class Lifecycle:
    """Launch, pause, resume, reset, end: what callers, time-outs, exits and the reconcile loop have in common."""

    def __init__(self, context: Context, admission: Admission, deadlines: Deadlines, company: Company) -> None:
        self._rows = context.store.sandboxes
        self._backend = context.backend
        self._supervision = context.supervision
        self._dialer = context.dialer
        self._catalog = context.catalog
        self._tokens = context.tokens
        self._clock = context.clock
        self._egress = context.egress
        self._policy = context.settings.egress
        self._company = company
        self._states = company.states
        self._admission = admission
        self._deadlines = deadlines
        self._locks = Locks()

    async def launch(self, sandbox: Sandbox, *, agent: str, blueprint: Blueprint) -> Sandbox:
        """Start `sandbox` (a new row, "starting"); return it running, with its time-out to live from now.

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
                started = await self._boot(blueprint)
                return await self._started(started, sandbox.timeout)
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
        self._catalog.put(routes.route_of(sandbox, agent, self._tokens))

    def adopt(self, sandbox: Sandbox, agent: str) -> None:
        """Take over a living sandbox of an earlier server."""
        if not sandbox.saved:
            self._admission.adopt(sandbox.id)
            self._egress.change(sandbox.id, egress_policy(self._policy, sandbox.network))
        if sandbox.state is SandboxState.RUNNING:
            self._company.metering.follow(sandbox.id)
        self.enter(sandbox, agent)
        self._deadlines.put(sandbox.id, sandbox.ends_at)

    async def pause(self, sandbox_id: str, *, memory: bool = True) -> Sandbox | None:
        """Freeze a running sandbox and return its row, or None if it does not run. Without `memory` only its files are kept.

        Raises:
            SandboxGone: it ended before it could be frozen.
            BackendUnavailable, NotSupported: its files cannot be saved; it runs on.
        """
        async with self._locks.of(sandbox_id):
            before = await self._rows.get(sandbox_id)
            ends_at = self._clock.now() + PAUSED_SECONDS
            row = await self._rows.change(sandbox_id, [SandboxState.RUNNING], state=SandboxState.PAUSED, ends_at=ends_at)
            if row is None or before is None:
                return None
            self._show(row)
            await self._or_lost(row, self._backend.freeze(sandbox_id))
            if not memory:
                row = await self._put_away_or_run_on(before)
            self._company.metering.rest(sandbox_id)
            await self._schedule(row)
            await self._company.events.note(row, "paused")
            return row

    async def resume(self, sandbox_id: str, seconds: float, *, memory: bool = True) -> Sandbox | None:
        """Let a paused sandbox run on, give it `seconds` and return its row, or None if it is not paused.

        One that was paused without memory, or is resumed without, starts anew with its files.

        Raises:
            SandboxGone: it ended while it was paused.
            StartFailed, BackendUnavailable, NotSupported, ApiError: it could not be started anew; it stays paused.
        """
        async with self._locks.of(sandbox_id):
            row = await self._rows.get(sandbox_id)
            if row is None or row.state is not SandboxState.PAUSED:
                return None
            if row.saved or not memory:
                return await self._start_again(row if row.saved else await self._put_away(row), seconds)
            ends_at = self._clock.now() + seconds
            row = await self._rows.change(sandbox_id, [SandboxState.PAUSED], state=SandboxState.RUNNING, ends_at=ends_at)
            if row is None:
                return None
            await self._schedule(row)
            await self._or_lost(row, self._backend.thaw(sandbox_id))
            await self._runs(row, "resumed")
            return row

    async def wake(self, sandbox_id: str) -> None:
        """Resume a paused sandbox because somebody calls it, if it was made so; its route says what came of it."""
        row = await self._rows.get(sandbox_id)
        if row is None or not row.auto_resume or row.saved:
            return
        try:
            await self.resume(sandbox_id, row.timeout)
        except BackendError as error:
            _log.warning("a sandbox could not be resumed by traffic", sandbox=sandbox_id, error=str(error))

    async def reset(self, sandbox_id: str, seconds: float, *, resume: bool) -> Sandbox | None:
        """Take a sandbox back to what it began with, running or paused, and return its row; None if it is neither.

        Raises:
            SandboxGone: it was closed meanwhile.
            StartFailed, BackendUnavailable, NotSupported, ApiError: it could not be started anew; it stays paused.
        """
        async with self._locks.of(sandbox_id):
            before = await self._rows.get(sandbox_id)
            if before is None or before.state not in (SandboxState.RUNNING, SandboxState.PAUSED):
                return None
            row = await self._rows.change(
                sandbox_id,
                [before.state],
                state=SandboxState.PAUSED,
                saved=True,
                restore=before.origin,
                ends_at=self._clock.now() + SAVED_SECONDS,
            )
            if row is None:
                raise SandboxGone("The sandbox was closed while it was reset")
            await self._leave_place(row, before.restore)
            await self._company.events.note(row, "reset")
            return await self._start_again(row, seconds) if resume else row

    def steady(self, sandbox_id: str) -> asyncio.Lock:
        """Return the lock under which a sandbox is neither paused nor resumed nor reset; it may end all the same."""
        return self._locks.of(sandbox_id)

    async def tidy(self, sandbox_id: str) -> None:
        """End what a killed server left running of a sandbox that is paused without memory."""
        async with self._locks.of(sandbox_id):
            row = await self._rows.get(sandbox_id)
            if row is not None and row.saved:
                await self._backend.stop(sandbox_id)

    async def set_network(self, sandbox_id: str, network: Network, *, public: bool) -> Sandbox | None:
        """Let other rules hold for a sandbox, from now on and whenever it is started again; None if it has ended."""
        async with self._locks.of(sandbox_id):
            row = await self._rows.change(sandbox_id, LIVING, network=network, public=public)
            if row is not None:
                self._show(row)
                self._egress.change(sandbox_id, egress_policy(self._policy, network))
                await self._company.events.note(row, "updated")
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
        row = await self._rows.change(sandbox_id, LIVING, state=state, reason=reason, sealed_env="", **how)
        if row is None:
            return False
        self._deadlines.drop(sandbox_id)
        self._show(row)
        self._company.metering.forget(sandbox_id)
        self._company.outputs.forget(sandbox_id)
        await self._backend.stop(sandbox_id)
        self._admission.release(sandbox_id)
        await self._states.release(*{row.restore, row.origin})
        await self._company.events.note(row, "killed", reason=reason)
        _log.info("sandbox ended", sandbox=sandbox_id, state=state.value, reason=reason)
        return True

    async def exited(self, exited: Exited) -> None:
        """Take note of a sandbox that ended by itself. One that is paused without memory has nothing left that could."""
        try:
            row = await self._rows.get(exited.sandbox_id)
            if row is None or row.saved:
                return
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
            await self._pause_at_end(row)
        else:
            await self.end(sandbox_id, SandboxState.STOPPED, "Its time was up")

    async def _pause_at_end(self, row: Sandbox) -> None:
        try:
            await self.pause(row.id, memory=row.keep_memory)
        except NotSupported as error:
            _log.warning("a sandbox is paused with its memory", sandbox=row.id, reason=str(error))
            await self.pause(row.id)

    async def _boot(self, blueprint: Blueprint) -> Started:
        """Start a sandbox, new or again; return when it is ready for callers: its template's start command has made it so."""
        spec = routes.identified(blueprint.spec, self._catalog.get(blueprint.spec.sandbox_id), self._tokens)
        started = await self._backend.start(spec)
        try:
            await startup.start(self._dialer, started.sandbox_id, blueprint.system)
        except (startup.NotReady, GuestError) as error:
            output = error.output if isinstance(error, startup.NotReady) else ""
            raise StartFailed(Exited(sandbox_id=started.sandbox_id, reason=str(error), output=output)) from error
        return started

    async def _start_again(self, row: Sandbox, seconds: float) -> Sandbox:
        """Start a sandbox that is paused without memory; it stays so where that fails."""
        async with self._admission.start(row.id):
            found = await self._company.blueprints.of(row)
            spec = replace(found.spec, ends_at=self._clock.now() + found.spec.ready_timeout + seconds)
            try:
                again = await self._booted_again(replace(found, spec=spec), seconds)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._backend.stop(row.id)
                raise
        await self._schedule(again)
        await self._runs(again, "resumed")
        return again

    async def _booted_again(self, blueprint: Blueprint, seconds: float) -> Sandbox:
        started = await self._boot(blueprint)
        row = await self._rows.change(
            started.sandbox_id,
            [SandboxState.PAUSED],
            state=SandboxState.RUNNING,
            saved=False,
            isolation=started.isolation,
            ends_at=self._clock.now() + seconds,
        )
        if row is None:
            raise SandboxGone("The sandbox was closed while it was resumed")
        exited = await self._supervision.ended(row.id)
        if exited is not None:  # before the row said that it runs: nobody took note
            await self.exited(exited)
            raise SandboxGone(exited.reason)
        return row

    async def _put_away_or_run_on(self, before: Sandbox) -> Sandbox:
        """Save a frozen sandbox's files and end its processes; where that fails, let it run on as it was."""
        try:
            return await self._put_away(before)
        except (BackendUnavailable, NotSupported):
            row = await self._rows.change(before.id, [SandboxState.PAUSED], state=SandboxState.RUNNING, ends_at=before.ends_at)
            if row is not None:
                await self._backend.thaw(row.id)
                self._show(row)
            raise

    async def _put_away(self, before: Sandbox) -> Sandbox:
        async with self._states.saved(before.id) as state:
            ends_at = self._clock.now() + SAVED_SECONDS
            row = await self._rows.change(before.id, [SandboxState.PAUSED], restore=state, saved=True, ends_at=ends_at)
            if row is None:
                raise SandboxGone("The sandbox was closed while it was paused")
        await self._leave_place(row, before.restore)
        return row

    async def _leave_place(self, row: Sandbox, restored: str) -> None:
        """End a sandbox's processes; its row stays."""
        self._show(row)
        self._company.metering.rest(row.id)
        await self._backend.stop(row.id)
        self._admission.release(row.id)
        self._deadlines.put(row.id, row.ends_at)
        await self._states.release(restored)

    async def _runs(self, row: Sandbox, event: str) -> None:
        """Tell everyone that a sandbox runs."""
        self._show(row)
        self._company.metering.follow(row.id)
        await self._company.events.note(row, event)

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
        await self._runs(row, "created")
        return row

    async def _schedule(self, row: Sandbox) -> None:
        self._deadlines.put(row.id, row.ends_at)
        pausing = PAUSED_SECONDS if row.state is SandboxState.RUNNING and row.on_timeout == "pause" else 0.0
        await self._supervision.extend(row.id, row.ends_at + pausing + KEEPER_GRACE)

    def _show(self, row: Sandbox) -> None:
        route = self._catalog.get(row.id)
        if route is not None:
            self._catalog.put(routes.shown(route, row, self._tokens))

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
