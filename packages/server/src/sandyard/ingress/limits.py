"""The bounds that the ingress holds its clients and sandboxes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressLimits:
    """Sizes are bytes, times seconds.

    A client has `head_timeout` for a whole request head, may pause `body_timeout` between two pieces of a body, keep an unused
    connection for `idle_timeout`, and take nothing of a reply for `write_timeout`. `response_timeout` bounds the wait for an
    agent's response head; None leaves that to the client. A pooled connection to a sandbox is kept for `pool_timeout`, which is
    shorter than the five seconds after which common servers close theirs. `crash_wait` is how long the ingress waits to hear
    why a sandbox ended before it answers; `drain_timeout` how long `aclose` lets exchanges finish.
    """

    head_bytes: int = 64 * 1024
    body_bytes: int = 100 * MEBIBYTE
    upload_bytes: int = 64 * 1024 * MEBIBYTE
    """What one request may carry to the guest, which writes files; a sandbox's disk is the real bound."""
    headers: int = 200
    connections: int = 10_000
    head_timeout: float = 15.0
    body_timeout: float = 60.0
    idle_timeout: float = 75.0
    write_timeout: float = 120.0
    response_timeout: float | None = None
    connect_timeout: float = 10.0
    pool_size: int = 128
    pool_timeout: float = 4.0
    crash_wait: float = 2.0
    drain_timeout: float = 10.0
    linger_timeout: float = 2.0
    buffer_bytes: int = 64 * 1024
    """High-water mark of each transport: what one direction of one connection may hold."""


class Wait(Enum):
    """What a connection waits for, and so which of the limits counts."""

    NOTHING = "nothing"
    REQUEST = "idle_timeout"
    HEAD = "head_timeout"
    BODY = "body_timeout"
    READER = "write_timeout"
    GOODBYE = "linger_timeout"
