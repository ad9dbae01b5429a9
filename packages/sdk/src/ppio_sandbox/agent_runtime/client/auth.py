"""Who is calling."""

from __future__ import annotations

import os

from ppio_sandbox.agent_runtime.client.exceptions import AuthenticationError

API_KEY_VARIABLE = "PPIO_API_KEY"


class AuthManager:
    """Holds the API key and renders it as a header (seed 001 §4.3)."""

    def __init__(self, api_key: str | None = None) -> None:
        """Take the key, or else the environment's `PPIO_API_KEY`.

        Raises:
            AuthenticationError: there is neither, or it can be no key.
        """
        key = (api_key if api_key is not None else os.environ.get(API_KEY_VARIABLE, "")).strip()
        if not key:
            raise AuthenticationError(
                f'no API key: pass api_key=… or set {API_KEY_VARIABLE} (with a local platform: eval "$(sandyard env)")',
                "api_key_missing",
            )
        if not _presentable(key):
            raise AuthenticationError("the API key holds spaces or characters that no key has", "api_key_malformed")
        self._api_key = key

    def validate_credentials(self) -> bool:
        """Whether a key is there and looks like one; only the platform knows whether it is valid."""
        return _presentable(self._api_key)

    def get_auth_headers(self) -> dict[str, str]:
        """Return `{"Authorization": "Bearer <key>"}`."""
        return {"Authorization": f"Bearer {self._api_key}"}

    @property
    def api_key(self) -> str:
        return self._api_key

    def __repr__(self) -> str:
        return "AuthManager(api_key=…)"


def _presentable(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key
