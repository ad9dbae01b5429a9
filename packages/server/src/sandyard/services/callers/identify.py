"""From the credentials of a request to its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandkit.wire.gateway import BAD_REQUEST, RATE_LIMITED, UNAUTHENTICATED, UNAVAILABLE, Refusal
from sandyard.domain.callers import Caller
from sandyard.domain.errors import TokenExpired, TokenRefused
from sandyard.services import jwts
from sandyard.services.callers.addresses import client_address, covered, read_network
from sandyard.services.callers.issuer import KeysUnavailable
from sandyard.services.keys import is_platform_key, is_whole, why_refused
from sandyard.services.tokens import ISSUER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.catalog import Catalog
    from sandyard.config import IdentitySettings
    from sandyard.services.audit.refusals import Refusals
    from sandyard.services.callers.children import Children
    from sandyard.services.callers.issuer import Issuer
    from sandyard.services.callers.throttle import Throttle
    from sandyard.services.keys import Keys
    from sandyard.services.tokens import Tokens

CONVERTED_SECONDS = 3600
"""How long a token lives that a key was converted to: public clients never renew theirs."""
_USER = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request shows: all values of each header, the address that it came from, and the sandbox, where it came from one."""

    internal_token: tuple[str, ...] = ()
    authorization: tuple[str, ...] = ()
    api_key: tuple[str, ...] = ()
    forwarded_for: tuple[str, ...] = ()
    peer: str | None = None
    sandbox: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everyone and everything that vouches for callers."""

    keys: Keys
    tokens: Tokens
    children: Children
    catalog: Catalog
    issuer: Issuer | None
    throttle: Throttle
    refusals: Refusals


class Callers:
    """Knows API keys, our own tokens, those of the configured issuer, and listed addresses."""

    def __init__(self, known: Known, settings: IdentitySettings) -> None:
        self._known = known
        self._settings = settings
        self._allowed = tuple(map(read_network, settings.allow))
        self._proxies = tuple(map(read_network, settings.proxies))

    async def identify(self, presented: Presented) -> Caller:
        """Return the caller. Every credential that is there must be valid, and all must be of one caller; the first one says who
        (internal token, Authorization, API key, address). One that is there but invalid is never passed over.

        Raises:
            Refusal: UNAUTHENTICATED; BAD_REQUEST for more than one value of a header, or credentials of two callers; RATE_LIMITED
                for an address that had too many refused.
        """
        for values in (presented.internal_token, presented.authorization, presented.api_key):
            if len(values) > 1:
                raise Refusal(BAD_REQUEST, "A credential's header is there more than once")
        address = client_address(presented.peer, presented.forwarded_for, self._proxies)
        try:
            callers = await self._all(presented, str(address))
        except Refusal as refusal:
            if refusal.code == UNAUTHENTICATED:
                self._count(str(address), presented)
            raise
        if not callers:
            return self._listed(presented, address)
        if len({(caller.tenant, caller.user) for caller in callers}) > 1:
            raise Refusal(BAD_REQUEST, "The request shows credentials of two different callers")
        return callers[0]

    def convert(self, caller: Caller) -> str:
        """Return an internal token for a caller who showed an API key, or a token of the issuer.

        Raises:
            Refusal: UNAUTHENTICATED; what he showed is none of these.
        """
        if caller.kind not in {"key", "issuer"}:
            raise Refusal(UNAUTHENTICATED, "Only an API key, or a token of the configured issuer, can be converted")
        claims: dict[str, Any] = {"sub": caller.user, "tenant": caller.tenant, "scope": "user"}
        return self._known.tokens.mint(CONVERTED_SECONDS, claims | ({} if caller.key is None else {"key": caller.key}))

    async def _all(self, presented: Presented, address: str) -> list[Caller]:
        found: list[Caller] = []
        if presented.internal_token:
            found.append(self._internal(presented.internal_token[0], presented.sandbox))
        if presented.authorization:
            scheme, _, value = presented.authorization[0].partition(" ")
            if scheme.lower() != "bearer":
                raise Refusal(UNAUTHENTICATED, "Authorization must be: Bearer, and a key or a token")
            found.append(await self._bearer(value.strip(), presented.sandbox, address))
        if presented.api_key:
            found.append(await self._key(presented.api_key[0], address))
        return found

    async def _bearer(self, text: str, sandbox: str | None, address: str) -> Caller:
        if text.startswith(("sk-", "e2b_")):
            return await self._key(text, address)
        issuer = self._known.issuer
        if issuer is not None and _issuer_of(text) == issuer.settings.issuer != ISSUER:
            return await self._foreign(issuer, text)
        return self._internal(text, sandbox)

    async def _key(self, text: str, address: str) -> Caller:
        row = self._known.keys.look(text)
        if row is None and is_whole(text) and not self._known.throttle.wait(address):
            await self._known.keys.find(text)  # it may be new
            row = self._known.keys.look(text)
        if row is None:
            raise Refusal(UNAUTHENTICATED, why_refused(text))
        return Caller(tenant=row.owner, user=row.owner, kind="key", credential=row.id, key=row.id)

    def _internal(self, text: str, sandbox: str | None) -> Caller:
        try:
            claims = self._known.tokens.verify(text, sandbox=sandbox)
        except TokenRefused as error:
            raise _refused(error) from None
        self._still_good(claims)
        scope = claims.get("scope")
        names = tuple(word.removeprefix("prefab:") for word in str(scope).split()) if "call" in claims else None
        return Caller(
            tenant=str(claims.get("tenant", claims["sub"])),
            user=str(claims["sub"]),
            kind="child" if "call" in claims else "internal",
            credential=str(claims["jti"]),
            agent=claims.get("agent"),
            sandbox=claims.get("sandbox"),
            scope=names,
            call=claims.get("call"),
            key=claims.get("key"),
        )

    def _still_good(self, claims: Mapping[str, Any]) -> None:
        """Refuse what stands on something that has ended: a revoked key, a sandbox, a call."""
        key, sandbox, call = claims.get("key"), claims.get("sandbox"), claims.get("call")
        if key is not None and not self._known.keys.is_active(str(key)):
            raise Refusal(UNAUTHENTICATED, "The API key behind this token is revoked")
        if call is not None and not self._known.children.runs(call):
            raise Refusal(UNAUTHENTICATED, "The call that this token was made for has ended")
        if sandbox is not None:
            route = self._known.catalog.get(str(sandbox))
            if route is None or route.state.final:
                raise Refusal(UNAUTHENTICATED, "The sandbox that this token was made for has ended")

    async def _foreign(self, issuer: Issuer, text: str) -> Caller:
        try:
            claims = await issuer.verify(text)
        except TokenRefused as error:
            raise _refused(error) from None
        except KeysUnavailable as error:
            raise Refusal(UNAVAILABLE, str(error), retry_after=5) from None
        user = str(claims["sub"])
        if len(user) > _USER:
            raise Refusal(UNAUTHENTICATED, "The token's subject is too long")
        return Caller(tenant=issuer.settings.tenant, user=user, kind="issuer", credential=str(claims["jti"])[:_USER])

    def _listed(self, presented: Presented, address: Any) -> Caller:
        if presented.sandbox is None and covered(address, self._allowed):
            return Caller(tenant=self._settings.listed_tenant, user=self._settings.listed_user, kind="listed", credential=str(address))
        raise Refusal(UNAUTHENTICATED, "An API key or an internal token is needed")

    def _count(self, address: str, presented: Presented) -> None:
        """Note a refused credential; who has had too many of them is told to wait."""
        keys = (*presented.api_key, *(value for value in presented.authorization if is_platform_key(value.rpartition(" ")[2])))
        self._known.refusals.count(address, "API key" if keys else "token")
        wait = self._known.throttle.wait(address)
        self._known.throttle.failed(address)
        if wait:
            raise Refusal(RATE_LIMITED, "Too many credentials from this address were refused", retry_after=wait)


def _issuer_of(text: str) -> object:
    """Return whom a token names as its issuer; nothing is verified."""
    try:
        return jwts.read(text, {"alg", "typ", "kid"}).claims.get("iss")
    except TokenRefused:
        return None


def _refused(error: TokenRefused) -> Refusal:
    reason = {"reason": "TOKEN_EXPIRED"} if isinstance(error, TokenExpired) else {}
    return Refusal(UNAUTHENTICATED, str(error), **reason)
