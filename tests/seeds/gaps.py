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


CORE = "`ppio_sandbox` has no `Sandbox` yet: the core of sandboxes is not there, only what runs agents in them"

SAMPLES: dict[str, Gap] = {
    "001:96": Gap(CORE, "cannot import name 'Sandbox' from 'ppio_sandbox'"),
    "001:1945": Gap(CORE, "cannot import name 'Sandbox' from 'ppio_sandbox'"),
}

LISTINGS: dict[str, dict[str, str]] = {}
