"""What sandboxes use, over time: one loop measures those that run, a bounded ring each remembers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import structlog

from sandyard.domain.errors import BackendError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandyard.domain.sandboxes import Sandbox
    from sandyard.domain.specs import Usage
    from sandyard.services.context import Context

SECONDS = 10.0
KEPT = 360
"""An hour of samples at that pace: 14 KiB for each sandbox."""
FRESH_SECONDS = 1.0
"""A sample that is not older answers a request; else one is taken."""
_FIELDS = 5
_log = structlog.get_logger("sandyard.metering")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A sample. `cpu_percent` is of all CPUs that the sandbox may use together, since the sample before; sizes are bytes."""

    at: float
    cpu_percent: float
    cpu_count: float
    memory_bytes: int
    memory_cache_bytes: int
    memory_limit_bytes: int
    disk_bytes: int
    disk_limit_bytes: int


class _Ring:
    """The samples of one sandbox: time, CPU seconds, memory, cache, disk; what does not change stands beside them."""

    __slots__ = ("_values", "cpu_count", "disk_limit", "memory_limit")

    def __init__(self) -> None:
        self._values = array("d")
        self.cpu_count = 1.0
        self.memory_limit = 0
        self.disk_limit = 0

    @property
    def newest(self) -> float:
        return self._values[-_FIELDS] if self._values else 0.0

    def add(self, at: float, usage: Usage) -> None:
        self.cpu_count, self.memory_limit, self.disk_limit = usage.cpu_count, usage.memory_limit_bytes, usage.disk_limit_bytes
        self._values.extend((at, usage.cpu_seconds, usage.memory_bytes, usage.memory_cache_bytes, usage.disk_bytes))
        if len(self._values) > KEPT * _FIELDS:
            del self._values[: _FIELDS * max(1, KEPT // 10)]

    def metrics(self, born: float) -> Sequence[Metric]:
        before_at, before_cpu = born, 0.0
        found: list[Metric] = []
        for index in range(0, len(self._values), _FIELDS):
            at, cpu, memory, cache, disk = self._values[index : index + _FIELDS]
            busy = max(0.0, cpu - before_cpu) / max(0.001, at - before_at) / self.cpu_count if cpu >= before_cpu else 0.0
            found.append(self._metric(at, min(100.0, busy * 100), memory, cache, disk))
            before_at, before_cpu = at, cpu
        return found

    def _metric(self, at: float, percent: float, memory: float, cache: float, disk: float) -> Metric:
        return Metric(
            at=at,
            cpu_percent=round(percent, 2),
            cpu_count=self.cpu_count,
            memory_bytes=int(memory),
            memory_cache_bytes=int(cache),
            memory_limit_bytes=self.memory_limit,
            disk_bytes=int(disk),
            disk_limit_bytes=self.disk_limit,
        )


class Metering:
    """Told by the lifecycle which sandboxes run; `run` measures them as long as there are any, and sleeps else."""

    def __init__(self, context: Context) -> None:
        self._meters = context.meters
        self._clock = context.clock
        self._rings: dict[str, _Ring] = {}
        self._running: set[str] = set()
        self._any = anyio.Event()

    def follow(self, sandbox_id: str) -> None:
        """Measure a sandbox that runs from now on."""
        self._running.add(sandbox_id)
        self._any.set()

    def rest(self, sandbox_id: str) -> None:
        """Measure a sandbox no more until it runs again."""
        self._running.discard(sandbox_id)

    def forget(self, sandbox_id: str) -> None:
        """Drop what is known of a sandbox that has ended."""
        self._running.discard(sandbox_id)
        self._rings.pop(sandbox_id, None)

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            await self._any.wait()
            while self._running:
                await anyio.sleep(SECONDS)
                for sandbox_id in list(self._running):
                    await self._sample_quietly(sandbox_id)
            self._any = anyio.Event()

    async def metrics(self, row: Sandbox, start: float | None, end: float | None) -> Sequence[Metric]:
        """Return the samples from `start` to `end` (Unix seconds), the newest taken now if the sandbox runs and `end` allows.

        Raises:
            NotSupported: nothing is measured here.
        """
        ring = self._rings.get(row.id)
        now = self._clock.now()
        if row.id in self._running and (end is None or end >= now) and (ring is None or now - ring.newest > FRESH_SECONDS):
            ring = await self._sample(row.id)
        found = () if ring is None else ring.metrics(row.created_at)
        return [metric for metric in found if (start is None or metric.at >= start) and (end is None or metric.at <= end)]

    async def _sample(self, sandbox_id: str) -> _Ring:
        usage = await self._meters.usage(sandbox_id)
        ring = self._rings.setdefault(sandbox_id, _Ring())
        ring.add(self._clock.now(), usage)
        return ring

    async def _sample_quietly(self, sandbox_id: str) -> None:
        if sandbox_id not in self._running:
            return
        try:
            await self._sample(sandbox_id)
        except NotSupported:
            self._running.clear()
        except BackendError as error:
            _log.debug("a sandbox could not be measured", sandbox=sandbox_id, error=str(error))
