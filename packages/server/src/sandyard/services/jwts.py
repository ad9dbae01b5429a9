"""Tokens as text, read strictly and before anything is verified: what is odd about one is refused here, whatever libraries think."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sandyard.domain.errors import TokenExpired, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LONGEST = 8192
"""Characters of a token."""
_LATEST = 1e12
"""Seconds; what is beyond is no time of ours, and neither are NaN and infinity."""
_TEXTS = ("iss", "sub", "jti", "agent", "sandbox", "tenant", "scope", "call", "key")
_LONGEST_TEXT = 4096
_REQUIRED = ("iss", "aud", "exp", "iat", "sub", "jti")


@dataclass(frozen=True, slots=True, repr=False)
class Read:
    """A token's header and claims; nothing is verified yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def read(text: str, header_names: Collection[str]) -> Read:
    """Return what a token says; its header may only have these names.

    Raises:
        TokenRefused: it is no JWT, too long, has a name twice, a number that is none, or another name in its header (`crit`, `jku`, …).
    """
    if len(text) > LONGEST or not text.isascii():
        raise TokenRefused("The token is too long, or no text of a token")
    parts = text.split(".")
    if len(parts) != 3:
        raise TokenRefused("The token is no JWT")
    header, claims = _part(parts[0]), _part(parts[1])
    if set(header) - set(header_names) or "alg" not in header:
        raise TokenRefused("The token's header has names that are not known here")
    return Read(header, claims)


def check(claims: Mapping[str, Any], *, issuer: str, audience: str, now: float, leeway: float = 0) -> None:
    """Check the claims that each token must have, of the kinds they must have.

    Raises:
        TokenRefused: one is missing, of another kind, or for somebody else; `TokenExpired` where only its time is over.
    """
    for name in _REQUIRED:
        if name not in claims:
            raise TokenRefused(f"The token has no {name}")
    for name in _TEXTS:
        value = claims.get(name, "-")
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT or (not value and name in _REQUIRED):
            raise TokenRefused(f"The token's {name} is no text")
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST < value < _LATEST:
            raise TokenRefused(f"The token's {name} is no time")
    audiences: object = claims["aud"]
    if claims["iss"] != issuer or audience not in (cast("list[object]", audiences) if isinstance(audiences, list) else [audiences]):
        raise TokenRefused("The token is of another issuer, or for another service")
    if claims["iat"] > now + leeway or claims.get("nbf", 0) > now + leeway:
        raise TokenRefused("The token is not valid yet")
    if claims["exp"] <= now - leeway:
        raise TokenExpired("The token has expired")


def _part(text: str) -> dict[str, Any]:
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_constant)
        json.dumps(value, ensure_ascii=False).encode()  # no halves of characters
    except (ValueError, binascii.Error, RecursionError):
        raise TokenRefused("The token is no JWT, or has a name twice") from None
    if not isinstance(value, dict):
        raise TokenRefused("The token is no JWT")
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(name)
