"""What the server signs for files: the right to put or get one key until a time, and the place where a list goes on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

from sandkit.wire.gateway import PERMISSION_DENIED, VALIDATION_ERROR, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/v1/blobs/"
KEY_FILE = "file_signing_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to `method` one `key` until `expires` (Unix seconds); with PUT, of what type (empty: any) and how large at most."""

    method: Literal["GET", "PUT"]
    key: str
    expires: int
    media: str = ""
    limit: int = 0


class Signer:
    """Signs and checks; HMAC-SHA-256 over everything that the right is about."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def path(self, grant: Grant) -> str:
        """Return the path and query of a URL that carries the grant."""
        query = {"expires": str(grant.expires)}
        if grant.method == "PUT":
            query |= {"limit": str(grant.limit)} | ({"type": grant.media} if grant.media else {})
        return PATH + quote(grant.key) + "?" + urlencode(query | {"signature": self._grant(grant)})

    def check(self, method: str, key: str, query: Mapping[str, str], now: float) -> Grant:
        """Return the grant that a request shows; HEAD is a GET.

        Raises:
            Refusal: PERMISSION_DENIED; it is of another method or key, was changed, or its time is over.
        """
        expires, limit = query.get("expires", ""), query.get("limit", "0")
        if method in {"GET", "HEAD", "PUT"} and _number(expires) and _number(limit):
            grant = Grant(
                method="PUT" if method == "PUT" else "GET", key=key, expires=int(expires), media=query.get("type", ""), limit=int(limit)
            )
            signature = query.get("signature", "").encode("utf-8", "replace")
            if hmac.compare_digest(signature, self._grant(grant).encode()) and now < grant.expires:
                return grant
        raise Refusal(PERMISSION_DENIED, "This URL is signed for something else, was changed, or its time is over")

    def mark(self, last: str, *page: str) -> str:
        """Return the token that goes on after `last` in the list that `page` describes."""
        return base64.urlsafe_b64encode(self._mark(last, page) + last.encode()).decode().rstrip("=")

    def read_mark(self, token: str, *page: str) -> str:
        """Return the key after which a list goes on.

        Raises:
            Refusal: VALIDATION_ERROR; it was not made here, or for another list.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            last = raw[32:].decode()
        except ValueError:
            raw, last = b"", ""
        if not hmac.compare_digest(raw[:32], self._mark(last, page)):
            raise Refusal(VALIDATION_ERROR, "continuation_token: was not given out for this list", pointer="/continuation_token")
        return last

    def _grant(self, grant: Grant) -> str:
        return self._sign("grant", grant.method, grant.key, str(grant.expires), grant.media, str(grant.limit)).hex()

    def _mark(self, last: str, page: tuple[str, ...]) -> bytes:
        return self._sign("mark", last, *page)

    def _sign(self, *parts: str) -> bytes:
        return hmac.new(self._key, json.dumps(parts).encode(), hashlib.sha256).digest()


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 15
