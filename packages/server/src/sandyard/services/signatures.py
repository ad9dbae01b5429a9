"""Signed requests: who signed, whether that was now, and whether it was sent before.

Nonces are remembered in memory for as long as a timestamp is accepted. What was signed before the server started is refused, so
that nothing sent to an earlier server can be sent again to this one.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sandkit.wire import signing
from sandkit.wire.errors import UNAUTHENTICATED, ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandkit.wire.signing import Signed
    from sandyard.ports import Clock
    from sandyard.services.keys import Keys

WINDOW_SECONDS = 300.0
"""How far a clock may be wrong."""


class Signatures:
    """Checks what `sandkit.wire.signing` describes."""

    def __init__(self, keys: Keys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._started = clock.now()
        self._nonces: dict[tuple[str, str], float] = {}

    async def owner_of(self, signed: Signed, method: str, target: str, body: Callable[[], Awaitable[bytes]]) -> str:
        """Return who signed a request; `body` is read only after the signature has proved right.

        Raises:
            ApiError: nobody of ours, another request, another time, or it was sent before.
        """
        self._check_time(float(signed.stamp.timestamp))
        owner = await self._keys.find(signed.key)
        right = signing.signature(self._keys.secret_of(signed.key), method, target, signed.body_hash, signed.stamp) if owner else ""
        if owner is None or not hmac.compare_digest(right.encode(), signed.signature.encode()):
            raise ApiError(UNAUTHENTICATED, "The signature does not fit: another key, another secret, or another request than was signed")
        self._check_new(signed)
        if signed.body_hash != signing.UNSIGNED and signing.hash_of(await body()) != signed.body_hash:
            raise ApiError(UNAUTHENTICATED, "The body is another than was signed")
        return owner

    def _check_time(self, timestamp: float) -> None:
        now = self._clock.now()
        if abs(now - timestamp) > WINDOW_SECONDS:
            raise ApiError(UNAUTHENTICATED, f"The request was signed at {timestamp:.0f}, and it is {now:.0f}: is the clock right?")
        if timestamp < self._started:
            raise ApiError(UNAUTHENTICATED, "The request was signed before this server started: sign it again")

    def _check_new(self, signed: Signed) -> None:
        """Remember the nonce; the oldest are forgotten when their timestamps would be refused anyway."""
        now = self._clock.now()
        while self._nonces and next(iter(self._nonces.values())) < now:
            del self._nonces[next(iter(self._nonces))]
        nonce = (signed.key, signed.stamp.nonce)
        if nonce in self._nonces:
            raise ApiError(UNAUTHENTICATED, "This request was sent before: sign each with a nonce of its own")
        self._nonces[nonce] = now + 2 * WINDOW_SECONDS
