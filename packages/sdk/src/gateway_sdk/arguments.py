"""How both clients read their constructors' arguments (resolutions 31-33)."""

from __future__ import annotations

from gateway_sdk.credentials import Credentials
from gateway_sdk.flows import Core

DEFAULT_TIMEOUT = 1200
"""Seconds that a request may take (resolution 33)."""
CONNECT_SECONDS = 10.0
TEMPORARY_SECONDS = 86400
PAGE = 100


def core_of(internal_token: str | None, base_url: str | None, timeout: float, api_key: str | None, jwt_token: str | None) -> Core:
    """Return the core of a client; a first argument that is an address is the base URL."""
    if internal_token is not None and internal_token.startswith(("http://", "https://")):
        internal_token, base_url = None, base_url or internal_token
    return Core(Credentials(internal_token, api_key, jwt_token), base_url, timeout)
