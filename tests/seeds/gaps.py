"""What the documents say and the project does not do yet: block to reason, or block to member to reason. The docs show all of it.

Tests hold these records from both sides: a gap that has been mended fails until its record is gone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """A caller's sample that does not run: the reason for readers, and the error that it ends with for that reason alone."""

    reason: str
    error: str


SAMPLES: dict[str, Gap] = {}

LISTINGS: dict[str, dict[str, str]] = {}
