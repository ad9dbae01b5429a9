"""Calls of a batch that have an idempotency key of their own: each has a row beside the batch's, as a job of one call has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import orjson
import structlog

from sandkit.wire.gateway import CANCELLED, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_MISMATCH, Refusal
from sandyard.domain.calls import CallResult, Job, JobState
from sandyard.domain.errors import RowConflict, StoreError
from sandyard.services.ids import new_id
from sandyard.services.prefabs.prepared import Known, Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.calls import Call
    from sandyard.ports import Clock, JobRows
    from sandyard.services.prefabs.prepared import Slot

_log = structlog.get_logger("sandyard.jobs")


class KeyedCalls:
    """Remembers what became of calls with a key, for as long as jobs are remembered."""

    def __init__(self, rows: JobRows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def known(self, caller: Caller, calls: Sequence[Call]) -> dict[int, Known | Refusal]:
        """Return by its place each call that was made already, or why it cannot be made."""
        found: dict[int, Known | Refusal] = {}
        for place, call in enumerate(calls):
            there = call.key and await self._rows.by_idempotency_key(caller.tenant, caller.user, call.key)
            if there:
                found[place] = _judged(there, call.digest)
        return found

    async def admit(self, job: Job, calls: Sequence[Call], slots: Sequence[Slot]) -> dict[int, str | Refusal]:
        """Write the rows of the calls that may run; return by place the row's id, or why that call may not run after all."""
        rows: dict[int, str | Refusal] = {}
        try:
            for place, (call, slot) in enumerate(zip(calls, slots, strict=True)):
                if call.key is not None and isinstance(slot, Prepared):
                    rows[place] = await self._add(job, place, call)
        except BaseException:
            await self.forget({place: row for place, row in rows.items() if isinstance(row, str)})
            raise
        return rows

    async def forget(self, rows: Mapping[int, str]) -> None:
        """Let the keys of calls be used again that will not run."""
        with anyio.CancelScope(shield=True):
            for row in rows.values():
                await self.note(row, CallResult(error={"error_code": CANCELLED, "message": "The batch was not begun"}, ran=False))

    async def note(self, row: str, result: CallResult) -> None:
        """Keep how a call ended. One that did not run keeps no key: whoever tries again with it shall succeed."""
        fields: dict[str, object] = {"state": JobState.of([result]), "results": [result.wire()], "finished_at": self._clock.now()}
        if not result.ran:
            fields["idempotency_key"] = None
        try:
            await self._rows.change(row, [JobState.RUNNING], **fields)
        except StoreError as error:
            _log.warning("a call's end could not be noted; the next start will", job=row, error=str(error))

    async def recall(self, known: Known) -> CallResult:
        """Return the result of a call that was made already."""
        row = await self._rows.get(known.job_id)
        [wire] = (row and row.results) or [{"error": {"error_code": CANCELLED, "message": "The call's result is not remembered any more"}}]
        return CallResult.read(wire, len(orjson.dumps(wire)))

    async def _add(self, job: Job, place: int, call: Call) -> str | Refusal:
        row = Job(
            id=new_id("job"),
            owner=job.owner,
            user=job.user,
            state=JobState.RUNNING,
            calls=[job.calls[place]],
            created_at=job.created_at,
            idempotency_key=call.key,
            body_digest=call.digest,
        )
        try:
            await self._rows.add(row)
        except RowConflict:
            return in_progress()
        return row.id


def known_job(there: Job, digest: str) -> Job:
    """Return the ended job of a key that is used again.

    Raises:
        Refusal: IDEMPOTENCY_MISMATCH, IDEMPOTENCY_IN_PROGRESS.
    """
    if there.body_digest != digest:
        raise Refusal(IDEMPOTENCY_MISMATCH, "This idempotency key was used for another request")
    if not there.state.final:
        raise in_progress()
    return there


def in_progress() -> Refusal:
    """Return the refusal for a key whose first request still runs."""
    return Refusal(IDEMPOTENCY_IN_PROGRESS, "A request with this idempotency key is still running", retry_after=1)


def _judged(there: Job, digest: str) -> Known | Refusal:
    try:
        return Known(known_job(there, digest).id)
    except Refusal as refusal:
        return refusal
