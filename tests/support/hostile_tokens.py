"""Tokens signed with a platform's own key, good and bad: what the tests of identity send."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

if TYPE_CHECKING:
    from support.platform import Platform


class Minter:
    """Signs what it is told to, with the key that the platform signs with."""

    def __init__(self, platform: Platform) -> None:
        key = load_pem_private_key((platform.data_dir / "secrets" / "internal_token_key.pem").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        self._key = key

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return good claims with changes; None takes one out."""
        now = int(time.time())
        whole = {"iss": "sandyard", "aud": "sandyard", "sub": "default", "iat": now, "exp": now + 300, "jti": secrets.token_hex(16)}
        return {name: value for name, value in (whole | changes).items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token over `claims`, signed."""
        return self.signed(json.dumps(self.claims(**changes)), header)

    def signed(self, claims: str, header: dict[str, Any] | None = None) -> str:
        """Return a token over claims as they are written."""
        start = f"{part({'alg': 'Ed25519'} if header is None else header)}.{encoded(claims.encode())}"
        return f"{start}.{encoded(self._key.sign(start.encode()))}"

    def agent(self, agent: str = "tester", user: str = "default", tenant: str = "default") -> str:
        """Return the token of an agent."""
        return self.token(sub=user, tenant=tenant, agent=agent)


def part(value: dict[str, Any]) -> str:
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
