"""What a server counts about its invocations, and how Prometheus reads it (seed 002 §3.3)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the duration histogram, in seconds."""

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_RECENT = 1000


class MetricsCollector:
    """Counts requests by how they ended. `response_times` are the latest 1,000 durations, in seconds."""

    def __init__(self) -> None:
        self.request_count = 0
        self.error_count = 0
        self.response_times: deque[float] = deque(maxlen=_RECENT)
        self._endings: Counter[str] = Counter()
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)

    def record_request(self, duration: float, status: str) -> None:
        """Count one request of `duration` seconds; `status` is "success", or a word for how it failed."""
        self.request_count += 1
        self.response_times.append(duration)
        self._endings[status] += 1
        self._seconds += duration
        self._buckets[bisect_left(BUCKETS, duration)] += 1
        if status != "success":
            self.error_count += 1

    def text(self, gauges: dict[str, tuple[str, float]]) -> bytes:
        """Return everything in Prometheus' text format; `gauges` maps further names to their help and value."""
        lines = ["# HELP agent_invocations_total Invocations by how they ended.", "# TYPE agent_invocations_total counter"]
        lines += [f'agent_invocations_total{{status="{status}"}} {count}' for status, count in sorted(self._endings.items())]
        lines += ["# HELP agent_invocation_duration_seconds Time from the request to the end of its answer."]
        lines += ["# TYPE agent_invocation_duration_seconds histogram", *self._histogram("agent_invocation_duration_seconds")]
        for name, (told, value) in gauges.items():
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", f"{name} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self, name: str) -> list[str]:
        lines: list[str] = []
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds}", f"{name}_count {total}"]
