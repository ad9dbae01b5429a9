"""Tokens of the one issuer that the operator names: its keys are fetched from where he says, never from where a token says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from sandyard.domain.errors import TokenRefused
from sandyard.services import jwts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandyard.config import IssuerSettings
    from sandyard.ports import Clock

Key = RSAKey | ECKey | OKPKey
_KINDS: Mapping[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_KIND_OF = {"R": "RSA", "P": "RSA", "E": "EC"}
_SHORTEST_RSA = 2048
_LONGEST_DOCUMENT = 1024 * 1024
_SECONDS = 5.0
_SOONEST = 10.0
_log = structlog.get_logger("sandyard.identity")


class KeysUnavailable(Exception):  # noqa: N818
    """The issuer's keys cannot be had now."""


class Issuer:
    """Checks tokens of an OpenID-like issuer. Its keys are kept for `cache` seconds; an unknown key id asks anew, but not often."""

    def __init__(self, settings: IssuerSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            TokenRefused: it was not signed by the issuer, is for somebody else, or has expired.
            KeysUnavailable: whether it was cannot be known now.
        """
        found = jwts.read(token, {"alg", "typ", "kid"})
        algorithm: object = found.header["alg"]
        if not isinstance(algorithm, str) or algorithm not in self.settings.algorithms:
            raise TokenRefused("The token's algorithm is not accepted")
        key = await self._key(found.header.get("kid"), algorithm)
        try:
            jwt.decode(token, key, algorithms=[algorithm])
        except (JoseError, ValueError) as error:
            raise TokenRefused(f"The token was refused: {error}") from error
        jwts.check(
            found.claims,
            issuer=self.settings.issuer,
            audience=self.settings.audience,
            now=self._clock.now(),
            leeway=self.settings.leeway,
        )
        return found.claims

    async def _key(self, kid: object, algorithm: str) -> Key:
        if kid is not None and not isinstance(kid, str):
            raise TokenRefused("The token's key id is no text")
        now = self._clock.now()
        if now - self._fetched > self.settings.cache:
            await self._refresh()
        key = self._pick(kid, algorithm)
        if key is None:
            await self._refresh()
            key = self._pick(kid, algorithm)
        if key is None:
            raise TokenRefused("The token's key is not one of the issuer's")
        return key

    def _pick(self, kid: str | None, algorithm: str) -> Key | None:
        kind = _KIND_OF.get(algorithm[0] if algorithm[:2] != "Ed" else "", "OKP")
        fitting = [
            key
            for key in self._keys
            if key.get("kty") == kind
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and kid in (None, key.get("kid"))
        ]
        if len(fitting) != 1:
            return None
        try:
            key = _KINDS[kind].import_key(cast("Any", dict(fitting[0])))
        except (JoseError, ValueError, TypeError):
            return None
        if isinstance(key, RSAKey) and key.public_key.key_size < _SHORTEST_RSA:
            return None
        return key

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried just now."""
        async with self._fetching:
            now = self._clock.now()
            if now - self._tried < min(_SOONEST, self.settings.cache):
                return
            self._tried = now
            try:
                self._keys = await self._fetch()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                _log.warning("the issuer's keys cannot be fetched", url=self.settings.jwks_url, error=str(error) or type(error).__name__)
                if now - self._fetched > 10 * self.settings.cache:
                    raise KeysUnavailable("The keys of the token's issuer cannot be fetched now") from None
                return
            self._fetched = now

    async def _fetch(self) -> Sequence[Mapping[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(self.settings.jwks_url, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                raise ValueError(f"HTTP {reply.status}")
            body = bytearray()
            async for chunk in reply.content.iter_chunked(65536):
                body += chunk
                if len(body) > _LONGEST_DOCUMENT:
                    raise ValueError("the document is too large")
        document: Any = json.loads(bytes(body))
        keys: Any = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise ValueError("the document has no keys")  # noqa: TRY004 (it is what came, not what was passed)
        return [cast("dict[str, Any]", key) for key in cast("list[Any]", keys) if isinstance(key, dict)]
