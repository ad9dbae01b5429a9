"""Server-sent events, written and read (WHATWG HTML, "Server-sent events").

A chunk of an agent is one event whose data is one JSON value. A failure in mid-stream is one terminal event of type
`ERROR_EVENT` whose data is `{"error", "error_type", …}`. Comments are heartbeats.
"""

from __future__ import annotations

from typing import NamedTuple

MEDIA_TYPE = "text/event-stream"
ERROR_EVENT = "error"
HEARTBEAT = b": keep-alive\n\n"
JSON_EVENT = b"data: %b\n\n"
"""`encode` for a JSON value, which has no line breaks: `JSON_EVENT % value`."""

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `data` is text (for agents: one JSON value); `id` is the last one that the stream has set."""

    data: str
    event: str = "message"
    id: str = ""


def encode(data: bytes, event: str | None = None) -> bytes:
    """Return one event. `data` is UTF-8 text; a JSON value has no line breaks and becomes exactly one `data:` line."""
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_unix(data).split(b"\n"))
    return head + b"data: " + data + b"\n\n"


class Decoder:
    """Turns bytes, cut anywhere, into events. An event is complete with its blank line; what is cut off at the end is none."""

    def __init__(self) -> None:
        self.retry: int | None = None
        """The reconnection time that the stream has asked for, in milliseconds."""
        self._pending: list[bytes] = []
        self._last_id = ""
        self._began = False
        self._after_cr = False
        self._after_newline = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes, in order."""
        chunk = self._normalise(chunk)
        if not chunk:
            return []
        completes = b"\n\n" in chunk or (self._after_newline and chunk[0] == 0x0A)
        self._after_newline = chunk[-1] == 0x0A
        self._pending.append(chunk)
        if not completes:
            return []  # joined only once per event: a long event in small chunks stays linear
        blocks = b"".join(self._pending).split(b"\n\n")
        self._pending = [blocks.pop()]
        return self._events(blocks)

    @property
    def is_within_an_event(self) -> bool:
        """Whether lines of an event have come and its blank line has not; comments are no event's."""
        return any(line and not line.startswith(b":") for line in b"".join(self._pending).split(b"\n"))

    def _normalise(self, chunk: bytes) -> bytes:
        """Make every line end a single newline. A carriage return ends a line at once, also when a newline may follow later."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" not in chunk:
            return chunk
        self._after_cr = chunk.endswith(b"\r")
        return _unix(chunk)

    def _events(self, blocks: list[bytes]) -> list[Event]:
        if not self._began:
            self._began = True
            blocks[0] = blocks[0].removeprefix(_BOM)
        events: list[Event] = []
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(Event(block[6:].decode("utf-8", "replace"), id=self._last_id))
            elif (event := self._event(block)) is not None:
                events.append(event)
        return events

    def _event(self, block: bytes) -> Event | None:
        data: list[str] = []
        kind = ""
        for line in block.decode("utf-8", "replace").split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                kind = value
            elif field == "id" and "\0" not in value:
                self._last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry = int(value)
        return Event("\n".join(data), kind or "message", self._last_id) if data else None


def _unix(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
