"""API keys as rows: what is kept of a key is a digest and a few characters to recognise it by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A row. `digest` is HMAC-SHA-256 of the key's hex part under the pepper; `hint` its last four characters."""

    id: str
    owner: str
    name: str
    digest: str
    hint: str
    created_at: float
    revoked_at: float | None = None
