"""Callers of the gateway for tests: tokens as the server mints them, keys, an issuer with its keys."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey

from support.platform import run as command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.platform import Platform


def signing_key(platform: Platform) -> OKPKey:
    """Return the server's own key: who has it can mint anything, so what is refused then is refused for what it says."""
    return OKPKey.import_key((platform.data_dir / "secrets" / "internal_token_key.pem").read_bytes())


def claims(**changes: Any) -> dict[str, Any]:
    """Return what an internal token says; None leaves a claim out."""
    now = int(time.time())
    whole = {"iss": "sandyard", "aud": "sandyard", "sub": "default", "iat": now, "exp": now + 300, "jti": secrets.token_hex(8)}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def minted(platform: Platform, **changes: Any) -> str:
    """Return a token under the server's key."""
    return jwt.encode({"alg": "Ed25519"}, claims(**changes), signing_key(platform), algorithms=["Ed25519"])


def signed_raw(platform: Platform, header: dict[str, Any], payload: str) -> str:
    """Return a token whose payload is this very text, under the server's key."""
    head = _part(json.dumps(header).encode()) + "." + _part(payload.encode())
    private = load_pem_private_key((platform.data_dir / "secrets" / "internal_token_key.pem").read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    signature = private.sign(head.encode())
    return head + "." + _part(signature)


def agent(platform: Platform, user: str = "default", name: str = "tester") -> dict[str, str]:
    """Return the headers of an agent of a user."""
    return {"X-Internal-Token": minted(platform, sub=user, agent=name)}


async def new_key(platform: Platform, owner: str) -> tuple[str, str]:
    """Make an API key of another tenant; return its text and its id."""
    code, out, err = await command("key", "create", "--data-dir", str(platform.data_dir), "--owner", owner, f"of-{owner}")
    assert code == 0, err
    _, listed, _ = await command("key", "list", "--data-dir", str(platform.data_dir))
    line = next(line for line in listed.splitlines() if f"…{out.strip()[-4:]}" in line and f"of-{owner}" in line)
    return out.strip(), line.split()[0]


class Issuer:
    """A real issuer: its keys are served over HTTP, and rotate."""

    def __init__(self) -> None:
        self.keys: dict[str, ECKey] = {}
        self.asked = 0
        self.url = ""
        self.rotate("k1")

    def rotate(self, kid: str) -> None:
        self.keys = {kid: ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        kid, key = next(iter(self.keys.items()))
        whole = claims(**({"iss": "https://issuer.test", "aud": "the-gateway", "sub": "ada"} | changes))
        return jwt.encode({"alg": "ES256", "kid": kid} | (header or {}), whole, key, algorithms=["ES256"])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps(KeySet(list(self.keys.values())).as_dict(private=False)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[Issuer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/jwks"
        async with server:
            yield self


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
