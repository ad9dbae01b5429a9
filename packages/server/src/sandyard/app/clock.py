"""The time."""

from __future__ import annotations

import time


class SystemClock:
    """`ports.Clock` on the system's."""

    def now(self) -> float:
        return time.time()
