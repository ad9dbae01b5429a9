"""Who is calling."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ppio_sandbox.agent_runtime.client.exceptions import AuthenticationError
from sandkit.wire import signing

if TYPE_CHECKING:
    from collections.abc import Generator

    from sandkit.http.messages import Request

API_KEY_VARIABLE = "PPIO_API_KEY"
SHORTEST_KEY = 8


class AuthHeaders(dict[str, str]):
    """Headers that can also be awaited, which gives the headers themselves (seed-resolutions 15)."""

    def __await__(self) -> Generator[Any, None, Self]:
        return self
        yield  # makes this a generator, which has nothing to wait for

    def __repr__(self) -> str:
        """Return the names alone: one value is the key."""
        return f"AuthHeaders({', '.join(f'{name}: …' for name in self)})"


class AuthManager:
    """Holds the API key and renders it as headers (seed 001 §4.3)."""

    def __init__(self, api_key: str | None = None, api_secret: str | None = None) -> None:
        """Take the key, or else the environment's `PPIO_API_KEY`. With its secret, each request to the platform is signed
        (`sandkit.wire.signing`), and of use for nothing else and only once.

        Raises:
            AuthenticationError: there is neither ("API Key is required"), or it can be no key ("Invalid API Key format").
        """
        self._api_key = _checked(api_key if api_key is not None else os.environ.get(API_KEY_VARIABLE, ""))
        self.api_secret = api_secret or None

    def update_api_key(self, api_key: str) -> None:
        """Use another key from the next request on.

        Raises:
            AuthenticationError: it can be no key; the old one stays.
        """
        self._api_key = _checked(api_key)

    def validate_credentials(self) -> bool:
        """Whether a key is there and looks like one; only the platform knows whether it is valid. Never raises."""
        return _presentable(self._api_key)

    def get_auth_headers(self) -> AuthHeaders:
        """Return `Authorization` (`Bearer <key>`) and `Content-Type` (JSON), as a dict of the caller's own; it can also be awaited.

        A signature is of one request, and no part of these: see `authorized`.
        """
        return AuthHeaders({"Authorization": f"Bearer {self._api_key}", "Content-Type": "application/json"})

    def authorized(self, request: Request) -> Request:
        """Return an addressed request with an id and with what says who sends it: the key, or where there is a secret a signature."""
        request = request.identified()
        if self.api_secret is None:
            return request.to(request.base_url, {"authorization": f"Bearer {self._api_key}"})
        url = urlsplit(request.url)
        body = request.body if request.body is not None else b""
        body_hash = signing.hash_of(body) if isinstance(body, bytes) else signing.UNSIGNED
        stamp = signing.Stamp(f"{time.time():.6f}", str(uuid.uuid4()))
        signature = signing.signature(self.api_secret, request.method, signing.target_of(url.path, url.query), body_hash, stamp)
        return request.to(request.base_url, signing.headers_of(signing.Signed(self._api_key, signature, stamp, body_hash)))

    async def refresh_token(self) -> None:
        """Do nothing: an API key does not expire (seed 002 §4.4 foresees credentials that do)."""

    @property
    def api_key(self) -> str:
        """The key in use."""
        return self._api_key

    def __repr__(self) -> str:
        return "AuthManager(api_key=…)"


def _checked(api_key: str) -> str:
    if not api_key:
        raise AuthenticationError(
            f'API Key is required: pass api_key=… or set {API_KEY_VARIABLE} (with a local platform: eval "$(sandyard env)")',
            "api_key_missing",
        )
    key = api_key.strip() if isinstance(api_key, str) else api_key  # pyright: ignore[reportUnnecessaryIsInstance] (callers without types)
    if not _presentable(key):
        raise AuthenticationError(
            f"Invalid API Key format: a key has at least {SHORTEST_KEY} characters, and no spaces in it", "api_key_malformed"
        )
    return key


def _presentable(key: object) -> bool:
    return isinstance(key, str) and len(key) >= SHORTEST_KEY and key.isascii() and key.isprintable() and " " not in key
