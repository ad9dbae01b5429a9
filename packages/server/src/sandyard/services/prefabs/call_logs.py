"""What calls have printed: kept for whoever called, without secrets, the last of each call and the newest of each tenant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.domain.calls import CallLog
from sandyard.domain.errors import StoreError
from sandyard.services.prefabs.owned import Owned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.callers import Caller
    from sandyard.ports import Clock
    from sandyard.ports_accounting import CallLogRows
    from sandyard.services.prefabs.conversation import Conversation
    from sandyard.services.prefabs.prepared import Prepared
    from sandyard.services.wakes import Wakes

REMEMBERED_SECONDS = 24 * 3600.0
MOST = 1000
"""Logs of one tenant, of 16 KiB each at most; the oldest go first."""
_CUT_BYTES = 16_000
"""As long as that, the beginning is missing."""
_SWEEP_SECONDS = 600.0
_log = structlog.get_logger("sandyard.prefabs")


class CallLogs:
    """Hears a call's process out after its answer has gone, and writes down what it printed."""

    def __init__(self, rows: CallLogRows, clock: Clock, wakes: Wakes) -> None:
        self._rows = rows
        self._clock = clock
        self._wakes = wakes
        self._tasks = Owned()
        self._hearing: dict[tuple[str, str], set[asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Own the tasks that hear calls out, and forget old logs, until cancelled."""
        async with self._tasks.open():
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await self._rows.forget(self._clock.now() - REMEMBERED_SECONDS)

    def hear(self, call: Prepared, conversation: Conversation, *, succeeded: bool) -> None:
        """Take over a conversation after its answer: note what the process printed, when it has ended, and close it."""
        task = self._tasks.begin(self._hear(call, conversation, succeeded=succeeded))
        if task is None:
            conversation.close()
            return
        key = (call.caller.tenant, call.caller.user)
        self._hearing.setdefault(key, set()).add(task)
        task.add_done_callback(lambda _: self._heard(key, task))

    async def of_job(self, caller: Caller, job_id: str) -> Sequence[CallLog]:
        """Return what the calls of a job of the caller's have printed, in the order of the calls."""
        await self._settle(caller)
        found = await self._rows.of_job(caller.tenant, caller.user, job_id)
        return sorted(found, key=lambda log: int(log.call.rpartition(".")[2]))

    async def of_prefab(self, caller: Caller, prefab_id: str, *, after: int | None, limit: int, wait: float) -> Sequence[CallLog]:
        """Return what the caller's own calls of a prefab have printed: the newest, or the next after a number, for which `wait` seconds
        are waited where there is none yet.
        """
        await self._settle(caller)
        with anyio.move_on_after(wait):
            while after is not None and not self._wakes.closed:
                news = self._wakes.event(_news(caller, prefab_id))
                found = await self._rows.of_prefab(caller.tenant, caller.user, prefab_id, after=after, limit=limit)
                if found:
                    return found
                await news.wait()
        return await self._rows.of_prefab(caller.tenant, caller.user, prefab_id, after=after, limit=limit)

    async def _hear(self, call: Prepared, conversation: Conversation, *, succeeded: bool) -> None:
        try:
            left = conversation.left or await conversation.departure()
        finally:
            conversation.close()
        if not left.log:
            return
        log = CallLog(
            call=call.ref.id,
            job_id=call.ref.job_id,
            owner=call.caller.tenant,
            user=call.caller.user,
            prefab_id=call.ref.prefab_id,
            version=call.ref.version,
            function=call.ref.function,
            at=self._clock.now(),
            succeeded=succeeded,
            text=call.redactor.text(_whole_lines(left.log)),
        )
        try:
            await self._rows.add(log, MOST)
        except StoreError as error:
            _log.warning("what a call printed was not kept", call=log.call, error=str(error))
        self._wakes.wake(_news(call.caller, log.prefab_id))

    def _heard(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._hearing[key].discard(task)
        if not self._hearing[key]:
            del self._hearing[key]

    async def _settle(self, caller: Caller) -> None:
        """Wait for the logs of the caller's calls that have been answered; each takes a moment, two seconds at most."""
        under_way = self._hearing.get((caller.tenant, caller.user))
        if under_way:
            await asyncio.wait(set(under_way))


def _news(caller: Caller, prefab_id: str) -> str:
    return f"logs {caller.tenant} {caller.user} {prefab_id}"


def _whole_lines(text: str) -> str:
    """Return a log without its first line where that is not whole: half a secret would not be known for one."""
    if len(text.encode()) < _CUT_BYTES:
        return text
    return text.partition("\n")[2] or "(one line that is longer than what is kept)"
