"""Signed URLs of files: who holds one may do that one thing until it expires, without any header (sandbox protocol §2.2). Pure.

The signature is `v1_` and the unpadded base64 of SHA-256 over `{path}:{read|write}:{user}:{token}[:{expiration}]`, where `token` is
the sandbox's access token: what is signed cannot be changed, and only who knows the token can sign.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from sandyard.ingress.heads import RequestHead

_VERBS = {b"GET": "read", b"HEAD": "read", b"POST": "write"}
_FIELDS = ("path", "username", "signature", "signature_expiration")
_MOST_FIELDS = 32


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """What a URL asks for in its own right. `expires_at` in Unix seconds, None for never."""

    text: str
    signature: str
    expires_at: int | None

    def made_with(self, token: str) -> bool:
        """Tell whether the holder of `token` made it."""
        return hmac.compare_digest(sign(self.text, token, self.expires_at).encode(), self.signature.encode())


def sign(text: str, token: str, expires_at: int | None) -> str:
    """Return the signature of `{path}:{read|write}:{user}`."""
    whole = f"{text}:{token}" if expires_at is None else f"{text}:{token}:{expires_at}"
    return "v1_" + b64encode(hashlib.sha256(whole.encode("utf-8", errors="surrogateescape")).digest()).decode().rstrip("=")


def read_signed(head: RequestHead) -> SignedUrl | None:
    """Return what a request for `/files` is signed for; None if it is for something else, is not signed, or makes no sense.

    Each field counts once: of two paths one would be signed and the other served.
    """
    path, _, query = head.target.partition(b"?")
    verb = _VERBS.get(head.method)
    if verb is None or b"signature=" not in query or path.lstrip(b"/") != b"files":
        return None
    try:
        found = parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        if any(len(found.get(name, [])) > 1 for name in _FIELDS):
            return None
        expires_at = int(found["signature_expiration"][0]) if "signature_expiration" in found else None
    except ValueError:
        return None
    text = f"{found.get('path', [''])[0]}:{verb}:{found.get('username', [''])[0]}"
    signature = found.get("signature", [""])[0]
    return SignedUrl(text, signature, expires_at) if signature.isascii() else None
