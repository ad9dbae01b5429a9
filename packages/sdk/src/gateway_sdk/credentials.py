"""Who a client is: the credential that it was given, and the internal token that an API key is exchanged for. Sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway_sdk.exceptions import AuthenticationError

_SENDABLE = re.compile(r"[\x21-\x7e]+")
_EARLY = 0.1
"""A token is renewed when this part of its life is left, at most a minute of it."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An internal token and when (by the client's clock, seconds) to have another one."""

    token: str
    renew_at: float


class Credentials:
    """Precedence: internal token, API key, JWT; without any the request says nothing, and the gateway decides by the address."""

    def __init__(self, internal_token: str | None, api_key: str | None, jwt_token: str | None) -> None:
        self._internal_token = internal_token
        self._api_key = None if internal_token else api_key
        self._jwt_token = jwt_token
        self._exchanged: Exchanged | None = None

    @property
    def can_exchange(self) -> bool:
        """Whether there is a key to exchange."""
        return bool(self._api_key)

    @property
    def exchanged(self) -> Exchanged | None:
        """What the key was exchanged for last."""
        return self._exchanged

    def wants_exchange(self, now: float) -> bool:
        """Whether the key must be exchanged before anything can be sent."""
        return self.can_exchange and (self._exchanged is None or now >= self._exchanged.renew_at)

    def keep(self, token: str, expires_in: float, now: float) -> None:
        """Take a token that lives for `expires_in` seconds."""
        self._exchanged = Exchanged(token, now + expires_in - min(60.0, expires_in * _EARLY))

    def headers(self) -> dict[str, str]:
        """Return the headers that say who calls.

        Raises:
            AuthenticationError: the credential cannot be one.
        """
        token = self._internal_token or (self._exchanged.token if self._exchanged is not None else None)
        if token:
            return {"x-internal-token": _checked(token, "internal token")}
        if self._jwt_token and not self._api_key:
            return {"authorization": f"Bearer {_checked(self._jwt_token, 'JWT')}"}
        return {}

    def key_header(self) -> dict[str, str]:
        """Return the header that exchanges the key. Raises as `headers`."""
        return {"authorization": f"Bearer {_checked(self._api_key or '', 'API key')}"}

    def hidden(self) -> tuple[str, ...]:
        """Return what no message may hold."""
        exchanged = self._exchanged.token if self._exchanged is not None else None
        return tuple(value for value in (self._internal_token, self._api_key, self._jwt_token, exchanged) if value and len(value) > 3)


def _checked(value: str, what: str) -> str:
    if not _SENDABLE.fullmatch(value):
        raise AuthenticationError(f"the {what} cannot be one: it has characters that no header may have", "UNAUTHENTICATED")
    return value
