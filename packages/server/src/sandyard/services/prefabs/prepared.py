"""A call that has passed every check and may run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
