"""The sandbox behind a session, as the client needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sandkit.http.agents import AGENT_PORT, route_headers

if TYPE_CHECKING:
    from ppio_sandbox.agent_runtime.client.settings import Addresses


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox: its id, what admits to its ports, and where they are."""

    id: str
    addresses: Addresses
    access_token: str | None = None
    domain: str | None = None

    def get_host(self, port: int = AGENT_PORT) -> str:
        """Return the host name of one port, without a scheme: `8080-<id>.<domain>`. The ingress routes by it.

        Without a domain of the platform's own it is a name below `localhost`, which browsers and curl send to this machine.
        """
        return f"{port}-{self.id}.{self.domain or self._local_domain()}"

    def url(self, port: int = AGENT_PORT) -> str:
        """Return the base address to send requests for one port to, with `headers(port)`."""
        if self.addresses.ingress_was_told or not self.domain:
            return self.addresses.ingress
        return f"{self.scheme}://{self.get_host(port)}"

    def headers(self, port: int = AGENT_PORT) -> dict[str, str]:
        """Return the headers that route to the port and admit to it."""
        return route_headers(self.id, self.access_token, port)

    @property
    def scheme(self) -> str:
        return urlsplit(self.addresses.ingress).scheme

    def __repr__(self) -> str:
        return f"Sandbox(id={self.id!r})"

    def _local_domain(self) -> str:
        parts = urlsplit(self.addresses.ingress)
        host = parts.hostname or "localhost"
        name = "localhost" if host in ("127.0.0.1", "::1") else host
        return f"{name}:{parts.port}" if parts.port else name
