"""Secrets that sandboxes may be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSecret:
    """A row. The value is here only as it was sealed (`services.envelopes`). `name` is unique among its owner's, whatever its case.

    `version` counts the values that there were. `metadata` is E2B's, `hosts` and `description` are PPIO's; nothing here follows from
    them.
    """

    id: str
    owner: str
    name: str
    sealed: str = field(repr=False)
    version: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    hosts: tuple[str, ...] = ()
    description: str = ""
    created_at: float
    updated_at: float
