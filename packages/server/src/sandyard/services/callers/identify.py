"""From the credentials of a request to its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandkit.wire.gateway import BAD_REQUEST, UNAUTHENTICATED, Refusal
from sandyard.domain.callers import Caller
from sandyard.domain.errors import TokenRefused

if TYPE_CHECKING:
    from sandyard.services.keys import Keys
    from sandyard.services.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request shows: all values of each header, and the address that it came from."""

    internal_token: tuple[str, ...] = ()
    authorization: tuple[str, ...] = ()
    api_key: tuple[str, ...] = ()
    forwarded_for: tuple[str, ...] = ()
    peer: str | None = None


class Callers:
    """Knows API keys and our own internal tokens."""

    def __init__(self, keys: Keys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    async def identify(self, presented: Presented) -> Caller:
        """Return the caller; the first credential that is there decides, and one that is there but invalid is never passed over.

        Raises:
            Refusal: UNAUTHENTICATED; BAD_REQUEST for more than one value of a header.
        """
        for values in (presented.internal_token, presented.authorization, presented.api_key):
            if len(values) > 1:
                raise Refusal(BAD_REQUEST, "A credential's header is there more than once")
        if presented.internal_token:
            return self._token(presented.internal_token[0])
        if presented.authorization:
            scheme, _, value = presented.authorization[0].partition(" ")
            if scheme.lower() != "bearer":
                raise Refusal(UNAUTHENTICATED, "Authorization must be: Bearer, and a key or a token")
            value = value.strip()
            return await self._key(value) if value.startswith(("sk-", "e2b_")) else self._token(value)
        if presented.api_key:
            return await self._key(presented.api_key[0])
        raise Refusal(UNAUTHENTICATED, "An API key or an internal token is needed")

    async def _key(self, text: str) -> Caller:
        owner = await self._keys.find(text)
        if owner is None:
            raise Refusal(UNAUTHENTICATED, "This API key is unknown or revoked")
        return Caller(tenant=owner, user=owner, kind="key", credential=text[-4:])

    def _token(self, text: str) -> Caller:
        try:
            claims = self._tokens.verify(text)
        except TokenRefused as error:
            raise Refusal(UNAUTHENTICATED, str(error)) from None
        owner = str(claims["sub"])
        return Caller(
            tenant=owner,
            user=owner,
            kind="internal",
            credential=str(claims["jti"]),
            agent=claims.get("agent"),
            sandbox=claims.get("sandbox"),
        )
