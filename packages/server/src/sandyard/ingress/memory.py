"""A head that was read before is known by its bytes: clients and agents say the same one again and again.

Only the digits of Content-Length and the value of X-Request-Id may differ. What is known was parsed and checked once, so the same
bytes at the start of a message cannot mean anything else; whatever does not match is parsed as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_LARGEST = 4096  # bytes: a memory for each of ten thousand connections has to be small


class _Field(NamedTuple):
    """What may differ: a header's whole value, which has this form and at most this many bytes."""

    line: re.Pattern[bytes]
    name: re.Pattern[bytes]
    form: re.Pattern[bytes]
    longest: int


def _field(name: bytes, form: bytes, longest: int) -> _Field:
    line = re.compile(rb"\r\n%b:[ \t]*(%b)(?=\r\n)" % (name, form), re.IGNORECASE)
    return _Field(line, re.compile(rb"\r\n%b[ \t]*:" % name, re.IGNORECASE), re.compile(form), longest)


_LENGTH = _field(b"content-length", rb"[0-9]{1,18}", 18)
_REQUEST_ID = _field(b"x-request-id", rb"[A-Za-z0-9._-]{1,128}", 128)


class Told(NamedTuple):
    """What a message with a known head says that is its own."""

    body: bytes
    length: int | None
    request_id: bytes | None


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head's bytes: those before what may differ, then each field that does with the bytes after it."""

    before: bytes
    rest: tuple[tuple[_Field, bytes], ...]

    def read(self, data: bytes) -> Told | None:
        """Return what `data` says if it is one whole message with this head, else None."""
        if not data.startswith(self.before):
            return None
        at, length, request_id = len(self.before), None, None
        for field, after in self.rest:
            end = data.find(b"\r", at, at + field.longest + 1)
            value = data[at:end]
            if end < 0 or field.form.fullmatch(value) is None or not data.startswith(after, end):
                return None
            if field is _LENGTH:
                length = int(value)
            else:
                request_id = value
            at = end + len(after)
        body = data[at:]
        return Told(body, length, request_id) if len(body) == (length or 0) else None

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body if `data` is one whole message with this head, else None."""
        told = self.read(data)
        return None if told is None else told.body


def remember(data: bytes, start: bytes, length: int | None) -> KnownHead | None:
    """Return the head of `data` if it is one whole message that begins with `start` and was read as having this body length.

    A parser that saw another end of the head, or more than one message, would have counted another length.
    """
    size = data.find(b"\r\n\r\n") + 4
    if size > _LARGEST or len(data) != size + (length or 0) or not data.startswith(start):
        return None
    head = data[:size]
    spots = _spots(_REQUEST_ID, head)
    if length is not None:
        lengths = _spots(_LENGTH, head)
        if [int(head[start:end]) for start, end, _ in lengths] != [length]:
            return None
        spots = sorted(spots + lengths, key=lambda spot: spot[0])
    ends = [*(start for start, _, _ in spots), size]
    rest = tuple((field, head[stop : ends[number + 1]]) for number, (_, stop, field) in enumerate(spots))
    return KnownHead(head[: ends[0]], rest)


def _spots(field: _Field, head: bytes) -> list[tuple[int, int, _Field]]:
    """Return where the field's value stands, if it is there once and has its form; else nothing."""
    if len(field.name.findall(head)) != 1:
        return []
    found = field.line.search(head)
    return [] if found is None else [(*found.span(1), field)]
