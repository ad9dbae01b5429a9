"""What a server knows of each sandbox that it believes to live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandyard.domain.errors import BackendUnavailable

if TYPE_CHECKING:
    import asyncio
    import socket

    from . import protocol


@dataclass(slots=True)
class Known:
    """One sandbox. `heard` is set while a start waits: None for "listening", facts for an end."""

    subject: str
    listener: socket.socket | None = None
    """A duplicate of what egress accepts on, for a keeper that comes after this one."""
    heard: asyncio.Future[protocol.Message | None] | None = field(default=None)

    def give_up(self, sentence: str) -> None:
        """Tell a start that waits that there is nothing more to hear."""
        if self.heard is not None and not self.heard.done():
            self.heard.set_exception(BackendUnavailable(sentence))
            self.heard.exception()  # it may have heard otherwise, and wait no more
