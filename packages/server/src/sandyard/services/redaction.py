"""Takes the exact values of secrets out of what a function says: results, events, errors, logs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
_SHORTEST = 4
"""Characters: shorter values stand in every other word."""


class Redactor:
    """Replaces secrets by `***`, whether they stand as they are, in base64 or URL-encoded."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= _SHORTEST for spelling in _spellings(secret)}
        self._spellings = sorted(spellings, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value without secrets, in its keys too."""
        if not self._spellings:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in cast("dict[str, Any]", value).items()}
        return value


def _spellings(secret: str) -> Iterable[str]:
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode()
    return (secret, encoded, encoded.rstrip("="), base64.urlsafe_b64encode(raw).decode(), quote(secret, safe=""), quote_plus(secret))
