"""What one sandbox may use of the proxy, and what it has used."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from sandyard.egress.door import Door
    from sandyard.egress.inner import Inner
    from sandyard.egress.policy import Rules
    from sandyard.egress.resolver import Resolver


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """Per sandbox; sizes are bytes, times seconds. `lookups` bounds name look-ups under way at once.

    `all_connections` is for all sandboxes together: a connection takes two of the server's descriptors.
    """

    connections: int = 256
    all_connections: int = field(default_factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    lookups: int = 4
    head_bytes: int = 64 * 1024
    head_timeout: float = 15.0
    connect_timeout: float = 15.0
    idle_timeout: float = 900.0
    buffer_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes out of and into the sandbox through the proxy, and requests that the policy refused."""

    bytes_out: int = 0
    bytes_in: int = 0
    refused: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """The state of one attached sandbox, shared by its connections."""

    rules: Rules
    resolver: Resolver
    limits: EgressLimits
    lookups: asyncio.Semaphore
    all_doors: set[Door]
    """Those of every sandbox of the proxy."""
    sandbox_id: str = ""
    inner: Inner | None = None
    doors: set[Door] = field(default_factory=set["Door"])
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    bytes_out: int = 0
    bytes_in: int = 0
    refused: int = 0
