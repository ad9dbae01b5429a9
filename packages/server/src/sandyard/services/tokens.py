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

from sandyard.domain.errors import TokenExpired, TokenRefused
from sandyard.services import jwts
from sandyard.services.secrets_dir import create_once

if TYPE_CHECKING:
    from collections.abc import Mapping
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

    def volume_token(self, volume_id: str) -> str:
        """Return the token that admits to the content of a volume: 64 hex digits, the same for its whole life."""
        return hmac.new(self._access_secret, f"volume {volume_id}".encode(), hashlib.sha256).hexdigest()

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
        token = self.sandbox_token(route.owner, route.agent, route.sandbox_id)
        self._cache[route.sandbox_id] = (token, now + LIFETIME - RENEW_BEFORE)
        return token

    def sandbox_token(self, owner: str, agent: str, sandbox_id: str) -> str:
        """Return a fresh token by which a sandbox says whose it is, which agent and which sandbox; it lives five minutes."""
        return self.mint(LIFETIME, {"sub": owner, "agent": agent, "sandbox": sandbox_id, "scope": SCOPE})

    def mint(self, lifetime: float, claims: Mapping[str, Any]) -> str:
        """Return a JWT with these claims (`sub` and what else there is), which lives so many seconds."""
        now = int(self._clock.now())
        whole = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + int(lifetime), "jti": secrets.token_hex(16), **claims}
        return jwt.encode({"alg": _ALGORITHM}, whole, self._signing_key, algorithms=[_ALGORITHM])

    def verify(self, token: str, *, sandbox: str | None = None) -> dict[str, Any]:
        """Return the claims of an internal token. One of `sandbox`'s own may be out of date: it came by a way that only that has.

        Raises:
            TokenRefused: it was not signed here, is for somebody else, or has expired (`TokenExpired`).
        """
        claims = jwts.read(token, {"alg", "typ"}).claims
        try:
            jwt.decode(token, self._signing_key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError) as error:
            raise TokenRefused(f"The internal token was refused: {error}") from error
        try:
            jwts.check(claims, issuer=ISSUER, audience=AUDIENCE, now=self._clock.now())
        except TokenExpired:
            if sandbox is None or claims.get("sandbox") != sandbox:
                raise
        return dict(claims)


def _new_signing_key() -> bytes:
    return OKPKey.generate_key("Ed25519").as_pem(private=True)
