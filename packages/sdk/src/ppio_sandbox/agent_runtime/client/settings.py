"""Where the platform is: the environment is read here, once for each client."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppio_sandbox.agent_runtime.exceptions import ValidationError
from sandkit.http.messages import Limits

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.client.models import ClientConfig

API_URL_VARIABLE = "PPIO_API_URL"
SANDBOX_URL_VARIABLE = "PPIO_SANDBOX_URL"
LOCAL_API_URL = "http://127.0.0.1:8800"
INGRESS_PORT = 8801


@dataclass(frozen=True, slots=True)
class Addresses:
    """The two planes. Without a trailing slash."""

    api: str
    ingress: str
    ingress_was_told: bool
    """False: it is derived from the platform's host, and a sandbox's own domain is better, where it has one."""


def find_addresses(base_url: str | None, config: ClientConfig) -> Addresses:
    """Return the planes' addresses: the argument, else the configuration, else the environment, else the local platform.

    Raises:
        ValidationError: an address is not http:// or https:// with a host.
    """
    api = _checked(base_url or config.base_url or os.environ.get(API_URL_VARIABLE) or LOCAL_API_URL)
    told = config.sandbox_url or os.environ.get(SANDBOX_URL_VARIABLE)
    if told:
        return Addresses(api, _checked(told), ingress_was_told=True)
    parts = urlsplit(api)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return Addresses(api, f"{parts.scheme}://{host}:{INGRESS_PORT}", ingress_was_told=False)


def limits_of(config: ClientConfig) -> Limits:
    """Return the bounds of the client's pool of connections."""
    return Limits(
        max_connections=config.max_connections,
        max_idle=config.max_keepalive_connections,
        keepalive_expiry=config.keepalive_expiry,
        connect_timeout=config.connect_timeout,
    )


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError(f"{url!r} is no address of a platform; it looks like {LOCAL_API_URL}", "bad_url")
    return url.rstrip("/")
