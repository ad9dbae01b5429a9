"""What becomes of a call before anything runs: it may run, was made already, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sandkit.wire.gateway import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.domain.callers import Caller
    from sandyard.domain.prefabs import Function, Manifest
    from sandyard.services.prefabs.neighbours import CallRef, InputFile
    from sandyard.services.redaction import Redactor


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that execution needs. `secrets` are the caller's values; `files` are (key, file) in the caller's order."""

    caller: Caller
    ref: CallRef
    version_id: str
    manifest: Manifest
    function: Function
    parameters: Mapping[str, Any]
    files: Sequence[tuple[str, InputFile]]
    secrets: Mapping[str, str]
    redactor: Redactor


@dataclass(frozen=True, slots=True)
class Known:
    """A call that was made already, with the same idempotency key: `job_id` names the row that has its result."""

    job_id: str


Slot: TypeAlias = Prepared | Known | Refusal
