"""Tokens: what admits a caller to one sandbox, and what tells an agent for whom it works."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from sandyard.domain.errors import TokenRefused
from sandyard.services.secrets_dir import create_once

if TYPE_CHECKING:
    from pathlib import Path

    from sandyard.catalog import Route
    from sandyard.ports import Clock

ACCESS_FILE = "access_token_secret"
SIGNING_FILE = "internal_token_key.pem"

ISSUER = "sandyard"
AUDIENCE = "sandyard"
SCOPE = "sandbox"
"""The token speaks for its own sandbox and for nothing else."""
LIFETIME = 300
RENEW_BEFORE = 60
"""Seconds before its end from which on a cached token is not given out any more."""

_ALGORITHM = "Ed25519"  # the name that RFC 9864 gives to EdDSA on this curve
_CACHED = 4096


class Tokens:
    """Makes and checks tokens. Nothing of them is stored but the two secrets."""

    def __init__(self, access_secret: bytes, signing_key: OKPKey, clock: Clock) -> None:
        self._access_secret = access_secret
        self._signing_key = signing_key
        self._clock = clock
        self._cache: dict[str, tuple[str, float]] = {}

    @classmethod
    async def open(cls, secrets_dir: Path, clock: Clock) -> Tokens:
        """Read the secrets, which are made on the first start."""
        access = await asyncio.to_thread(create_once, secrets_dir / ACCESS_FILE, lambda: secrets.token_bytes(32))
        signing = await asyncio.to_thread(create_once, secrets_dir / SIGNING_FILE, _new_signing_key)
        return cls(access, OKPKey.import_key(signing), clock)

    def access_token(self, sandbox_id: str) -> str:
        """Return the sandbox's access token: 64 hex digits that follow from its id, the same for its whole life."""
        return hmac.new(self._access_secret, sandbox_id.encode(), hashlib.sha256).hexdigest()

    def traffic_token(self, sandbox_id: str) -> str:
        """Return the token that admits to every port of a sandbox but the guest's: 64 hex digits, the same for its whole life."""
        return hmac.new(self._access_secret, f"traffic {sandbox_id}".encode(), hashlib.sha256).hexdigest()

    def internal_token(self, route: Route) -> str:
        """Return a JWT that says for whom (`sub`), as which agent and in which sandbox a request is served.

        It lives five minutes; the same one is given out until a minute before its end.
        """
        now = self._clock.now()
        token, until = self._cache.get(route.sandbox_id, ("", 0.0))
        if now < until:
            return token
        if len(self._cache) >= _CACHED:
            self._cache = {id_: entry for id_, entry in self._cache.items() if now < entry[1]}
        token = jwt.encode({"alg": _ALGORITHM}, _claims(route, int(now)), self._signing_key, algorithms=[_ALGORITHM])
        self._cache[route.sandbox_id] = (token, now + LIFETIME - RENEW_BEFORE)
        return token

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of an internal token.

        Raises:
            TokenRefused: it was not signed here, is for somebody else, or has expired.
        """
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock.now()),
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._signing_key, algorithms=[_ALGORITHM]).claims
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            raise TokenRefused(f"The internal token was refused: {error}") from error
        return claims


def _claims(route: Route, now: int) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": route.owner,
        "iat": now,
        "exp": now + LIFETIME,
        "jti": secrets.token_hex(16),
        "agent": route.agent,
        "sandbox": route.sandbox_id,
        "scope": SCOPE,
    }


def _new_signing_key() -> bytes:
    return OKPKey.generate_key("Ed25519").as_pem(private=True)
