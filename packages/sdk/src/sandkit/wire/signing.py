"""Signed requests (seed-resolutions 14): HMAC-SHA-256, under a key's secret, over what is asked for, when, and a nonce.

    Authorization: SANDYARD-HMAC-SHA256 Credential=<API key>, Signature=<hex>
    X-Sandyard-Timestamp: <Unix seconds>
    X-Sandyard-Nonce: <16 to 64 of [A-Za-z0-9-]>
    X-Sandyard-Content-SHA256: <hex of the body's hash> | UNSIGNED-PAYLOAD

The signature is over these lines, joined by newlines: the scheme, the method, the target, the body's hash (the header's value), the
timestamp, the nonce. The target is the path, percent-encoded but for `/`, and where there is a query `?` and its pairs, sorted and encoded:
proxies and libraries may spell both differently on the way.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEME = "SANDYARD-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
"""The body's hash of an upload that is sent while it is made."""

_TIMESTAMP, _NONCE, _BODY = "x-sandyard-timestamp", "x-sandyard-nonce", "x-sandyard-content-sha256"
_AUTHORIZATION = re.compile(rf"{SCHEME} Credential=(?P<key>[^\s,]+), Signature=(?P<signature>[0-9a-f]{{64}})")
_FORMS = {_TIMESTAMP: re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?"), _NONCE: re.compile(r"[A-Za-z0-9-]{16,64}")}
_BODY_FORM = re.compile(rf"[0-9a-f]{{64}}|{UNSIGNED}")


class Stamp(NamedTuple):
    """What makes one request another than all before: Unix seconds as text, and a nonce."""

    timestamp: str
    nonce: str


class Signed(NamedTuple):
    """What the headers of a signed request say."""

    key: str
    signature: str
    stamp: Stamp
    body_hash: str


def hash_of(body: bytes) -> str:
    """Return the hash that stands for a body."""
    return hashlib.sha256(body).hexdigest()


def target_of(path: str, query: str) -> str:
    """Return the target as it is signed; `path` and `query` are as on the wire."""
    pairs = urlencode(sorted(parse_qsl(query, keep_blank_values=True)))
    return quote(unquote(path), safe="/") + (f"?{pairs}" if pairs else "")


def signature(secret: str, method: str, target: str, body_hash: str, stamp: Stamp) -> str:
    """Return the signature of a request, in hex."""
    text = "\n".join((SCHEME, method, target, body_hash, *stamp))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def headers_of(signed: Signed) -> dict[str, str]:
    """Return the headers that carry a signature."""
    return {
        "authorization": f"{SCHEME} Credential={signed.key}, Signature={signed.signature}",
        _TIMESTAMP: signed.stamp.timestamp,
        _NONCE: signed.stamp.nonce,
        _BODY: signed.body_hash,
    }


def is_signed(authorization: str) -> bool:
    """Whether an `Authorization` header speaks of a signature."""
    return authorization.startswith(SCHEME)


def read(headers: Mapping[str, str]) -> Signed:
    """Return what the headers (by lower-case name) of a signed request say.

    Raises:
        ValueError: one of them is missing, or has another form.
    """
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if found is None:
        raise ValueError(f"Authorization is not `{SCHEME} Credential=…, Signature=…`")
    for name, form in {**_FORMS, _BODY: _BODY_FORM}.items():
        if form.fullmatch(headers.get(name, "")) is None:
            raise ValueError(f"{name} is missing, or has another form")
    return Signed(found["key"], found["signature"], Stamp(headers[_TIMESTAMP], headers[_NONCE]), headers[_BODY])
