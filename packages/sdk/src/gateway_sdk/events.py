"""From the bytes of a stream to its events: pure, bounded, and never past the first `done` or `error`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gateway_sdk.exceptions import GatewayError, ServiceUnavailableError
from gateway_sdk.models import TERMINAL, StreamEvent
from gateway_sdk.requests import job_events, read_batch
from sandkit.http.messages import EVENTS_TYPE
from sandkit.wire.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway_sdk.requests import Wanted
    from sandkit.http.messages import Reply
    from sandkit.wire.sse import Event

LIMIT = 16 * 1024 * 1024
"""Bytes of one event, line by line or all at once; our gateway sends 256 KiB at most."""
_CUTS = 4
"""How often a job's events are asked for again while nothing new comes."""


class Reading:
    """What a stream is asked for with, and how its answer is read. `ended` is True after `done` or `error`: nothing comes after it.

    Ask for `wanted`, `begin` with the answer's headers, `feed` it, `finish`. An answer that is one JSON document is the call's end.
    """

    def __init__(self, wanted: Wanted[Reply]) -> None:
        self.wanted = wanted
        self.ended = False
        self._document: list[bytes] | None = None
        self._decoder = Decoder()
        self._pending = 0

    def begin(self, headers: Mapping[str, str]) -> None:
        """Read an answer from its beginning."""
        self._document = None if headers.get("content-type", "").startswith(EVENTS_TYPE) else []
        self._decoder = Decoder()
        self._pending = 0

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Return the events that `chunk` completes.

        Raises:
            GatewayError: one event is larger than the limit.
        """
        if self._document is not None:
            self._document.append(chunk)
            return []
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
        if self._document is not None:
            self.ended = True
            return _whole(b"".join(self._document))
        events = [] if self.ended else self._events(self._decoder.feed(b"\n\n"))
        if not self.ended and not events:
            raise ServiceUnavailableError("the stream ended before the call did: there was neither done nor error", "STREAM_CUT")
        return events

    def cut(self, error: GatewayError) -> None:
        """Hear that the stream was cut off, and raise that: what was missed cannot be had, and the call is not made again."""
        raise error

    def _events(self, found: list[Event]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for raw in found:
            event = None if self.ended else self._taken(raw)
            if event is not None:
                events.append(event)
                self.ended = event.type in TERMINAL
        return events

    def _taken(self, raw: Event) -> StreamEvent | None:
        return _event(raw)


class JobReading(Reading):
    """The events of a job, which goes on whether its caller reads or not: after a cut they are asked for from the last one on."""

    def __init__(self, job_id: str, after: int) -> None:
        super().__init__(job_events(job_id, after))
        self._job_id = job_id
        self._after = after
        self._cuts = 0

    def cut(self, error: GatewayError) -> None:
        """Ask again after the last event, a few times in a row at most."""
        self._cuts += 1
        if self._cuts == _CUTS or error.error_code == "TIMEOUT":
            raise error
        self.wanted = job_events(self._job_id, self._after)

    def _taken(self, raw: Event) -> StreamEvent | None:
        event = _event(raw)
        if event is not None and raw.id.isdecimal():
            self._after, self._cuts = int(raw.id), 0
            return replace(event, number=self._after)
        return event


def _whole(body: bytes) -> list[StreamEvent]:
    """Return the events of an answer that came as one JSON document: the end of the call."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise GatewayError("the gateway's answer is neither events nor JSON", "UNREADABLE_REPLY") from None
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
    code, call = fields.get("error_code"), fields.get("call")
    return StreamEvent(
        kind,
        fields.get("data"),
        None if code is None else str(code),
        _mapping(fields.get("metadata")),
        _mapping(fields.get("files")),
        call=call if isinstance(call, int) else None,
    )


def _mapping(value: object) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
