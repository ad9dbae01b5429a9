"""From the bytes of a stream to its events: pure, bounded, and never past the first `done` or `error`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from gateway_sdk.exceptions import GatewayError, ServiceUnavailableError
from gateway_sdk.models import TERMINAL, StreamEvent
from gateway_sdk.requests import read_batch
from sandkit.wire.sse import Decoder

if TYPE_CHECKING:
    from sandkit.http.messages import Reply
    from sandkit.wire.sse import Event

LIMIT = 16 * 1024 * 1024
"""Bytes of one event, line by line or all at once; our gateway sends 256 KiB at most."""


class EventReader:
    """Reads one stream. `ended` is True after `done` or `error`: nothing comes after it."""

    def __init__(self) -> None:
        self.ended = False
        self._decoder = Decoder()
        self._pending = 0

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Return the events that `chunk` completes.

        Raises:
            GatewayError: one event is larger than the limit.
        """
        found = self._decoder.feed(chunk)
        self._pending = 0 if found else self._pending + len(chunk)
        if self._pending > LIMIT:
            raise GatewayError(f"an event of the stream is larger than {LIMIT // 2**20} MiB", "EVENT_TOO_LARGE")
        return self._events(found)

    def finish(self) -> list[StreamEvent]:
        """Return what the end of the stream completes: a last event whose blank line is missing.

        Raises:
            ServiceUnavailableError: the stream has ended without `done` or `error`.
        """
        events = [] if self.ended else self._events(self._decoder.feed(b"\n\n"))
        if not self.ended and not events:
            raise ServiceUnavailableError("the stream ended before the call did: there was neither done nor error", "STREAM_CUT")
        return events

    def _events(self, found: list[Event]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for raw in found:
            event = None if self.ended else _event(raw)
            if event is not None:
                events.append(event)
                self.ended = event.type in TERMINAL
        return events


def whole(reply: Reply) -> list[StreamEvent]:
    """Return the events of an answer that came as one JSON document: the end of the call."""
    try:
        value: object = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise GatewayError(f"the gateway's answer is neither events nor JSON (HTTP {reply.status})", "UNREADABLE_REPLY") from None
    [result] = read_batch(value, 1).results
    if result.is_success():
        return [StreamEvent("done", result.output, files=result.get_files())]
    error = dict(result.error or {})
    return [StreamEvent("error", error.pop("message", None), error.pop("error_code", None), error)]


def _event(raw: Event) -> StreamEvent | None:
    """Return an event; None for the end mark of other dialects. What is no object of ours is content."""
    if raw.data.strip() == "[DONE]":
        return None
    named = raw.event if raw.event != "message" else None
    try:
        value: object = json.loads(raw.data)
    except (ValueError, RecursionError):
        return StreamEvent(named or "content", raw.data)
    if not isinstance(value, dict):
        return StreamEvent(named or "content", value)
    fields = cast("dict[str, Any]", value)
    kind = fields.get("type")
    if not isinstance(kind, str):
        return StreamEvent(named or "content", fields.get("data", fields))
    code = fields.get("error_code")
    return StreamEvent(
        kind, fields.get("data"), None if code is None else str(code), _mapping(fields.get("metadata")), _mapping(fields.get("files"))
    )


def _mapping(value: object) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
