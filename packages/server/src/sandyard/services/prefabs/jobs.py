"""Jobs: one for each request to run. The row comes before the act and ends with a stated outcome, also after a crash."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import anyio
import structlog

from sandkit.wire.gateway import (
    CANCELLED,
    INTERNAL,
    INTERRUPTED,
    NOT_FOUND,
    OUTPUT_TOO_LARGE,
    UNAVAILABLE,
    Refusal,
)
from sandyard.domain.calls import CallResult, Job, JobEvent, JobState
from sandyard.domain.errors import RowConflict, StoreError
from sandyard.services.ids import new_id
from sandyard.services.prefabs.keyed import KeyedCalls, in_progress, known_job
from sandyard.services.prefabs.owned import Owned
from sandyard.services.prefabs.prepared import Known, Prepared
from sandyard.services.webhooks.sending import ENDED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.calls import Call
    from sandyard.services.context import Context
    from sandyard.services.prefabs.execution import Execution
    from sandyard.services.prefabs.preflight import Neighbours, Preflight
    from sandyard.services.prefabs.prepared import Slot
    from sandyard.services.wakes import Wakes

    OnEvent = Callable[[int, Mapping[str, Any]], Awaitable[None]]

REMEMBERED_SECONDS = 24 * 3600.0
"""How long after its end a job can be asked about, and an idempotency key is known."""
_SWEEP_SECONDS = 600.0
_PAGE = 200
_MOST_EVENTS = 10_000
_OUTPUTS = 4
"""How many times the largest output all outputs of one request may be together."""
_LOST = "The server ended while the call ran; whether the function did its work is not known"
_CANCELLED = CallResult(error={"error_code": CANCELLED, "message": "The call was cancelled"})
_log = structlog.get_logger("sandyard.jobs")


class Run:
    """An admitted job: its row is written, its calls are prepared; `finish` runs them, once."""

    def __init__(self, job: Job, caller: Caller, calls: Sequence[Slot], rows: Mapping[int, str]) -> None:
        self.job = job
        self.caller = caller
        self.calls = calls
        self.rows = rows
        """The rows of the calls that have a key of their own, by their places."""
        self.results: list[CallResult | None] = [None] * len(calls)
        self.ended = asyncio.Event()
        self.refusal: Refusal | None = None
        """Why the only call could not be run at all, found out after its admission."""
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self.size = 0
        """Bytes of all outputs together."""

    @property
    def streams(self) -> bool:
        """Whether it is one call of a streaming function."""
        return len(self.calls) == 1 and isinstance(self.calls[0], Prepared) and self.calls[0].function.streaming

    def wire(self) -> dict[str, Any]:
        """Return the answer of `POST /v1/run`."""
        results = [result.wire() for result in self.results if result is not None]
        return {"job_id": self.job.id, "status": self.job.state.value, "results": results}


class Jobs:
    """Admits, runs, remembers and cancels jobs."""

    def __init__(self, context: Context, preflight: Preflight, execution: Execution, neighbours: Neighbours, wakes: Wakes) -> None:
        self._rows = context.store.jobs
        self._clock = context.clock
        self._settings = context.settings.gateway
        self._preflight = preflight
        self._execution = execution
        self._neighbours = neighbours
        self._wakes = wakes
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()
        self._running: dict[str, Run] = {}
        self._written: dict[str, asyncio.Task[None]] = {}
        self._tasks = Owned()
        self._keyed = KeyedCalls(context.store.jobs, context.clock)

    async def run(self) -> None:
        """Own the jobs that nobody waits for, and forget old ones, until cancelled."""
        async with self._tasks.open():
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await self._rows.forget(self._clock.now() - REMEMBERED_SECONDS)

    async def recover(self) -> int:
        """End what a dead server left running; return how many. Call it before anything may be admitted."""
        left = await self._rows.running()
        for job in left:
            error = {"error_code": INTERRUPTED, "message": _LOST}
            results = [CallResult(error=error).wire() for _ in job.calls]
            await self._rows.change(job.id, [JobState.RUNNING], state=JobState.FAILED, results=results, finished_at=self._clock.now())
        return len(left)

    async def begin(
        self, caller: Caller, calls: Sequence[Call], *, key: str | None = None, digest: str = "", asynchronous: bool = False
    ) -> Run | Job:
        """Check every call, then write the row of a job that somebody may come back for; return what may be run, or the ended job that
        has this idempotency key.

        Raises:
            Refusal: the only call was refused (nothing is written then); IDEMPOTENCY_MISMATCH, IDEMPOTENCY_IN_PROGRESS.
        """
        if key is not None:
            there = await self._rows.by_idempotency_key(caller.tenant, caller.user, key)
            if there is not None:
                return known_job(there, digest)
        job_id = new_id("job")
        prepared = await self._preflight.prepare(caller, job_id, calls, await self._keyed.known(caller, calls))
        if len(prepared) == 1 and isinstance(prepared[0], Refusal):
            raise prepared[0]
        job = Job(
            id=job_id,
            owner=caller.tenant,
            user=caller.user,
            state=JobState.RUNNING,
            calls=[_named(call, slot) for call, slot in zip(calls, prepared, strict=True)],
            created_at=self._clock.now(),
            asynchronous=asynchronous,
            idempotency_key=key,
            body_digest=digest,
        )
        try:
            rows = await self._admit(job, calls, prepared)
        except BaseException:
            await self._preflight.release(prepared)
            raise
        return Run(job, caller, prepared, rows)

    async def finish(self, run: Run, on_event: OnEvent | None = None) -> None:
        """Run the calls side by side; when this returns, the job has ended and its results are in order.

        Cancelling ends the functions; the job is CANCELLED then.
        """
        run.started = True
        self._running[run.job.id] = run
        state: JobState | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in range(len(run.calls)):
                    tasks.create_task(self._one(run, place, on_event))
        except asyncio.CancelledError:
            state = JobState.CANCELLED
            raise
        finally:
            del self._running[run.job.id]
            with anyio.CancelScope(shield=True):
                await self._end(run, state)

    @asynccontextmanager
    async def owned(self, run: Run) -> AsyncGenerator[None]:
        """Hold an admitted job that somebody is about to finish: if that never begins, the job ends as cancelled."""
        try:
            yield
        finally:
            if not run.started:
                with anyio.CancelScope(shield=True):
                    await self._end(run, JobState.CANCELLED)

    def spawn(self, run: Run) -> None:
        """Run a job that outlives the request that asked for it.

        Raises:
            Refusal: UNAVAILABLE; the server is ending.
        """
        run.task = self._tasks.begin(self._detached(run))
        if run.task is None:
            raise Refusal(UNAVAILABLE, "The server is ending", retry_after=5)

    async def get(self, caller: Caller, job_id: str) -> Job:
        """Return a job of the caller's.

        Raises:
            Refusal: NOT_FOUND.
        """
        if job_id in self._written:
            await asyncio.wait([self._written[job_id]])
        job = await self._rows.get(job_id)
        if job is None or (job.owner, job.user) != (caller.tenant, caller.user):
            raise Refusal(NOT_FOUND, f"There is no job {job_id[:100]!r}", job_id=job_id[:100])
        return job

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """End a running job; return it ended. One that has ended already stays as it is."""
        job = await self.get(caller, job_id)
        run = self._running.get(job.id)
        if run is not None and run.task is not None:
            run.task.cancel()
            await run.ended.wait()
        return await self.get(caller, job.id)

    async def events(self, caller: Caller, job_id: str, after: int) -> AsyncIterator[JobEvent | Job]:
        """Yield the job's events from the one after `after`, as they come, then the ended job, unless the server ends before it."""
        while True:
            news = self._wakes.event(job_id)
            job = await self.get(caller, job_id)
            page = await self._rows.events(job_id, after, _PAGE)
            for event in page:
                after = event.number
                yield event
            if len(page) == _PAGE:
                continue
            if job.state.final:
                yield job
            if job.state.final or self._wakes.closed:
                return
            await news.wait()

    async def _admit(self, job: Job, calls: Sequence[Call], slots: list[Slot]) -> dict[int, str]:
        """Write the rows of what somebody may come back for; return those of calls with a key; refuse what another request has begun."""
        rows = await self._keyed.admit(job, calls, slots)
        for place, row in rows.items():
            if isinstance(row, Refusal):
                await self._preflight.release([slots[place]])
                slots[place] = row
        kept = {place: row for place, row in rows.items() if isinstance(row, str)}
        try:
            if job.kept:  # for any other nobody can ask before it has ended: its row is written then
                await self._rows.add(job)
        except RowConflict:
            await self._keyed.forget(kept)
            raise in_progress() from None
        except BaseException:
            await self._keyed.forget(kept)
            raise
        return kept

    async def _detached(self, run: Run) -> None:
        recorder = _Recorder(run.job.id, self._rows.add_events, self._wakes) if run.job.asynchronous else None
        try:
            await self.finish(run, recorder.note if recorder else None)
        except Exception:  # noqa: BLE001 (the job has ended; the log knows more)
            _log.exception("a job broke", job=run.job.id)
        finally:
            run.ended.set()
            self._wakes.wake(ENDED)

    async def _one(self, run: Run, place: int, on_event: OnEvent | None) -> None:
        """Run one call to its result; nothing that happens to it touches its neighbours."""
        call = run.calls[place]
        if isinstance(call, Refusal):
            run.results[place] = CallResult(error=call.error(), ran=False)
        elif isinstance(call, Known):
            run.results[place] = self._within(run, await self._keyed.recall(call))
        else:
            async with self._turn(run.caller):
                run.results[place] = self._within(run, await self._ran(run, call, place, on_event))
        if on_event is not None and run.job.asynchronous:
            result = run.results[place]
            status = "SUCCESS" if result is not None and result.succeeded else "FAILED"
            await on_event(place, {"type": "progress", "data": {"status": status}})

    def _within(self, run: Run, result: CallResult) -> CallResult:
        """Hold a batch's outputs together to what one answer may be: a hundred large ones would not fit into the server."""
        run.size += result.size
        most = _OUTPUTS * self._settings.output_bytes
        if run.size <= most:
            return result
        message = f"The outputs of this request are more than {most // 2**20} MiB together; ask in smaller batches"
        return CallResult(error={"error_code": OUTPUT_TOO_LARGE, "message": message})

    async def _ran(self, run: Run, call: Prepared, place: int, on_event: OnEvent | None) -> CallResult:
        started = self._clock.now()
        result = _CANCELLED
        try:
            heard = None if on_event is None else _bound(on_event, place)
            result = await self._execution.run(call, heard)
        except Refusal as refusal:
            run.refusal = refusal
            result = CallResult(error=refusal.error(), ran=False)
        except Exception:  # noqa: BLE001 (one call must not end its neighbours; the log knows more)
            _log.exception("a call broke", call=call.ref.id)
            result = CallResult(error={"error_code": INTERNAL, "message": "The platform failed; its log has more"})
        finally:
            with anyio.CancelScope(shield=True):
                if place in run.rows:
                    await self._keyed.note(run.rows[place], result)
                await self._account(run.caller, call, result, self._clock.now() - started)
        return result

    async def _account(self, caller: Caller, call: Prepared, result: CallResult, seconds: float) -> None:
        """Settle a call, or give back what one took that could not be run, and enter it in the audit: in one transaction of the store."""
        subject = f"{call.ref.prefab_id}@{call.ref.version}/{call.ref.function}"
        quotas = self._neighbours.quotas
        await asyncio.gather(
            quotas.settle(call.ref, seconds=seconds, succeeded=result.succeeded) if result.ran else quotas.release(call.ref),
            self._neighbours.audit.note(caller, "prefab.run", subject, "SUCCESS" if result.succeeded else "FAILED"),
        )

    async def _end(self, run: Run, state: JobState | None) -> None:
        """Note how the job ended."""
        idle = [place for place, result in enumerate(run.results) if result is None]
        run.results = [result or _CANCELLED for result in run.results]
        await self._preflight.release([run.calls[place] for place in idle])
        for place in run.rows.keys() & set(idle):
            await self._keyed.note(run.rows[place], replace(_CANCELLED, ran=False))
        results = [result for result in run.results if result is not None]
        ended = state or JobState.of(results)
        run.job = replace(run.job, state=ended, finished_at=self._clock.now())
        if run.job.kept:
            await self._note_end(run, results)
        else:
            task = self._tasks.begin(self._write(run.job))
            if task is not None:
                self._written[run.job.id] = task
        self._wakes.wake(run.job.id)

    async def _note_end(self, run: Run, results: Sequence[CallResult]) -> None:
        """Complete the row of a job that somebody may come back for."""
        fields: dict[str, object] = {"state": run.job.state, "finished_at": run.job.finished_at}
        fields["results"] = [result.wire() for result in results]
        if not any(result.ran for result in results):
            fields["idempotency_key"] = None  # whoever tries again with the key shall succeed
        try:
            await self._rows.change(run.job.id, [JobState.RUNNING], **fields)
        except StoreError as error:
            _log.warning("a job's end could not be noted; the next start will", job=run.job.id, error=str(error))

    async def _write(self, job: Job) -> None:
        """Write the row of an ended job down, while its answer is under way."""
        try:
            await self._rows.add(job)
        except StoreError as error:
            _log.warning("a job could not be noted", job=job.id, error=str(error))
        finally:
            del self._written[job.id]

    @asynccontextmanager
    async def _turn(self, caller: Caller) -> AsyncGenerator[None]:
        """Hold one of the caller's places to run."""
        key = (caller.tenant, caller.user)
        turns = self._turns.get(key)
        if turns is None:
            turns = self._turns[key] = asyncio.Semaphore(self._settings.parallel)
        async with turns:
            yield


class _Recorder:
    """Writes the events of an asynchronous job down, numbered in the order in which they can be read."""

    def __init__(self, job_id: str, add: Callable[[str, Sequence[JobEvent]], Awaitable[None]], wakes: Wakes) -> None:
        self._job_id = job_id
        self._add = add
        self._wakes = wakes
        self._number = 0
        self._lock = asyncio.Lock()

    async def note(self, call: int, event: Mapping[str, Any]) -> None:
        async with self._lock:
            if self._number >= _MOST_EVENTS:
                return
            self._number += 1
            await self._add(self._job_id, [JobEvent(number=self._number, call=call, data=event)])
        self._wakes.wake(self._job_id)


def _bound(on_event: OnEvent, place: int) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    return lambda event: on_event(place, event)


def _named(call: Call, slot: Slot) -> dict[str, str]:
    version = slot.ref.version if isinstance(slot, Prepared) else call.version[:100]
    return {"prefab_id": call.prefab_id[:100], "version": version, "function_name": call.function[:100]}
