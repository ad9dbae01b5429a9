"""The way out that the environment names: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` in either spelling; pure but for `from_environment`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Proxies:
    """A proxy's URL for each scheme, and the hosts that are reached without one. This machine itself always is."""

    http: str | None = None
    https: str | None = None
    direct: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Proxies:
        """Return what the variables say now; the lower-case spelling wins, as everywhere."""
        found = os.environ if environment is None else environment

        def value(name: str) -> str:
            return found.get(name) or found.get(name.upper()) or ""

        hosts = tuple(host.strip().lower() for host in value("no_proxy").split(",") if host.strip())
        return cls(value("http_proxy") or None, value("https_proxy") or None, hosts)

    def of(self, url: str) -> str | None:
        """Return the proxy's URL for a request to `url`; None: connect to it."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        proxy = self.https if parts.scheme == "https" else self.http
        return None if proxy is None or self._is_direct(host) else proxy

    def _is_direct(self, host: str) -> bool:
        if host == "localhost" or _is_loopback(host) or "*" in self.direct:
            return True
        return any(host == name or host.endswith("." + name) for name in (entry.lstrip("*.").partition(":")[0] for entry in self.direct))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback and host in ("127.0.0.1", "::1")
    except ValueError:
        return False
