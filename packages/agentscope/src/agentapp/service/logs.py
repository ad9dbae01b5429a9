"""Log lines without secrets: whatever a library writes, no value of the configuration that is secret appears in it."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Redacted = Callable[[str], str]

HIDDEN = "[secret]"
_NOISY = ("httpx", "mcp", "httpcore")
"""Libraries that report every request at the level on which we report starts and ends."""


class _Formatter(logging.Formatter):
    def __init__(self, redacted: Redacted) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redacted = redacted

    def format(self, record: logging.LogRecord) -> str:
        return self._redacted(super().format(record))


def configure(level: str, secrets: Iterable[str]) -> Redacted:
    """Write log lines to standard error from `level` on; return what takes `secrets` out of a text."""
    redacted = redactor(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(redacted))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    if logging.getLogger().level > logging.DEBUG:
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
    return redacted


def adopt(redacted: Redacted) -> None:
    """Have AgentScope's own logger write its lines our way."""
    from agentapp.adapters.agentscope1.installing import silence_handlers  # noqa: PLC0415 (loads AgentScope)

    silence_handlers(_Formatter(redacted))


def redactor(secrets: Iterable[str]) -> Redacted:
    """Return a function that puts `[secret]` where a text has one of `secrets`."""
    longest_first = sorted(secrets, key=len, reverse=True)
    if not longest_first:
        return str
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda text: pattern.sub(HIDDEN, text)
