"""A head that was read before is known by its bytes: clients and agents say the same one again and again.

Only the digits of Content-Length may differ. What is known was parsed and checked once, so the same bytes at the start of a
message cannot mean anything else; whatever does not match is parsed as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS = 18
_LARGEST = 4096  # bytes: a memory for each of ten thousand connections has to be small


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head's bytes before and after the digits of Content-Length; all of them in `before` if it has none."""

    before: bytes
    after: bytes

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body if `data` is one whole message with this head, else None."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        if not self.after:
            return b"" if len(data) == start else None
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        body = data[end + len(self.after) :]
        return body if len(body) == int(digits) else None


def remember(data: bytes, start: bytes, length: int | None) -> KnownHead | None:
    """Return the head of `data` if it is one whole message that begins with `start` and was read as having this body length.

    A parser that saw another end of the head, or more than one message, would have counted another length.
    """
    size = data.find(b"\r\n\r\n") + 4
    if size > _LARGEST or len(data) != size + (length or 0) or not data.startswith(start):
        return None
    if length is None:
        return KnownHead(data, b"")
    found = list(_LENGTH.finditer(data, 0, size))
    if len(found) != 1 or int(found[0][1]) != length:
        return None
    return KnownHead(data[: found[0].start(1)], data[found[0].end(1) : size])
