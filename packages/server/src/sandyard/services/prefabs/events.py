"""The events of a streaming function: known types only, no secrets, and an end that is stated once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from sandkit.wire.gateway import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.services.redaction import Redactor

_PASSED = ("type", "data", "metadata", "error_code", "message")


class Sequencer:
    """Takes events as the function yields them; gives on those that are not the end, and keeps that one.

    With `keep` (bytes) all of them are kept for `collected`; `overflown` says that they were more, `size` how much they are.
    """

    def __init__(self, redactor: Redactor, *, keep: int) -> None:
        self._redactor = redactor
        self._keep = keep
        self._kept: list[Mapping[str, Any]] = []
        self.size = 0
        self.done: Mapping[str, Any] | None = None
        self.error: Mapping[str, Any] | None = None

    @property
    def overflown(self) -> bool:
        """Whether more was yielded than may be kept."""
        return self._keep > 0 and self.size > self._keep

    def take(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what is to be sent on now: nothing where the event is the end, or comes after it."""
        if self.done is not None or self.error is not None:
            return None
        clean = self._redactor.value(_normal(event))
        if clean["type"] == "done":
            self.done = clean
        elif clean["type"] == "error":
            self.error = clean
        else:
            if self._keep:
                self._kept.append(clean)
                self.size += len(orjson.dumps(clean))
            return clean
        return None

    def collected(self) -> dict[str, Any]:
        """Return the stream as one object: the content in one piece, what `done` said, and all events that were kept."""
        contents = [event.get("data") for event in self._kept if event["type"] == "content"]
        texts = [text for text in contents if isinstance(text, str)]
        content = "".join(texts) if len(texts) == len(contents) else contents
        done = dict(self.done or {"type": "done", "data": None})
        return {"content": content, "result": done.get("data"), "events": [*self._kept, done]}


def _normal(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event without a known type is content: its data, or all of it."""
    if event.get("type") in EVENT_TYPES:
        return {name: event[name] for name in _PASSED if name in event}
    return {"type": "content", "data": event.get("data", event)}
