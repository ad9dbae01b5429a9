"""JSON lines from a pipe that need not be trusted."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop

LINE_LIMIT = 4096
_TOTAL_LIMIT = 64 * 1024
"""What all lines of one pipe may come to: a handful is ever written."""


class Lines:
    """Owns `fd` and calls `handle` with each JSON object written to it. Who sends too long a line, or too many, is heard no more."""

    def __init__(self, loop: Loop, fd: int, handle: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._handle = handle
        self._rest = b""
        self._left = _TOTAL_LIMIT
        loop.watch(fd, self._on_readable)

    def drain(self) -> None:
        """Handle what was written so far, and close."""
        while self._fd is not None and self._read():
            pass
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = None

    def _on_readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        if self._fd is None:
            return False
        try:
            chunk = os.read(self._fd, LINE_LIMIT)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                message: Any = json.loads(line)
                if isinstance(message, dict):
                    self._handle(cast("dict[str, Any]", message))
        self._left -= len(chunk)
        if not chunk or len(self._rest) > LINE_LIMIT or self._left < 0:
            self.close()
        return bool(chunk)
