"""The one request that the platform itself makes to an agent: `GET /ping`, once per build."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio

from sandyard.domain.errors import PortClosed, SandboxGone
from sandyard.domain.specs import AGENT_PORT

if TYPE_CHECKING:
    from sandyard.ports import Dialer

_REQUEST = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_LINE_LIMIT = 4096


class ProbeFailed(Exception):  # noqa: N818 (read as a sentence: the probe failed)
    """The agent gave no HTTP answer; the message says what it did instead."""


async def ping(dialer: Dialer, sandbox_id: str, timeout: float) -> int:  # noqa: ASYNC109 (the deadline is part of the question)
    """Return the HTTP status of the agent's `/ping`.

    Raises:
        ProbeFailed: it ended, closed the connection, spoke no HTTP, or did not answer within `timeout` seconds.
    """
    try:
        with anyio.fail_after(timeout):
            return _status(await _first_line(dialer, sandbox_id))
    except TimeoutError:
        raise ProbeFailed(f"The agent listens, but did not answer GET /ping within {timeout:.0f} seconds") from None
    except (SandboxGone, PortClosed, OSError):
        raise ProbeFailed("The agent listened and went away before it answered GET /ping") from None


async def _first_line(dialer: Dialer, sandbox_id: str) -> bytes:
    sock = await dialer.connect(sandbox_id, AGENT_PORT)
    reader, writer = await asyncio.open_connection(sock=sock, limit=_LINE_LIMIT)
    try:
        writer.write(_REQUEST)
        return await reader.readline()
    except ValueError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _status(line: bytes) -> int:
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ProbeFailed("The agent listens, but what it answered to GET /ping is not HTTP")
    return int(parts[1])
