"""What one sandbox may reach: destinations as sandboxes spell them, rules as operators write them. Pure, no IO."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from sandyard.egress.addresses import Address, embedded, is_private, read_address

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sandyard.domain.specs import EgressPolicy

_LABELS = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_HIGHEST_PORT = 65535


class Refused(Exception):  # noqa: N818 (the word of the policy)
    """The policy says no; the message is the sentence that the sandbox reads."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a sandbox wants to go: a name in lower case without a trailing dot, or an address."""

    host: str
    port: int
    address: Address | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_destination(authority: str, default_port: int | None = None) -> Destination:
    """Return what `host:port` means.

    Raises:
        ValueError: it is malformed; user info, zones and names outside of letters, digits, `-`, `_` and `.` are.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] is None and default_port is None):
        message = "the destination must be host:port"
        raise ValueError(message)
    port = int(match[2]) if match[2] is not None else default_port
    if port is None or not 0 < port <= _HIGHEST_PORT:
        message = "the port must be from 1 to 65535"
        raise ValueError(message)
    host, address = read_host(match[1])
    return Destination(host, port, address)


def read_host(text: str) -> tuple[str, Address | None]:
    """Return the canonical name, and the address if it is one.

    Raises:
        ValueError: it is neither.
    """
    bracketed = text.startswith("[")
    host = (text[1:-1] if bracketed else text).lower().removesuffix(".")
    address = read_address(host)
    if address is not None:
        return str(address), address
    if bracketed or not _LABELS.fullmatch(host):
        message = "the host is malformed"
        raise ValueError(message)
    return host, None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: a name (with `subdomains`: all below it, not itself) or a network; `port` None is any."""

    name: str = ""
    subdomains: bool = False
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    def names(self, destination: Destination) -> bool:
        """Tell whether the entry means the name that is asked for."""
        if not self.name or destination.address is not None or not self._fits(destination.port):
            return False
        if self.subdomains:
            return destination.host.endswith("." + self.name)
        return destination.host == self.name

    def covers(self, address: Address, port: int) -> bool:
        """Tell whether the entry means this address."""
        return self.network is not None and self._fits(port) and address in self.network

    @property
    def everything(self) -> bool:
        """Whether it means every destination (`0.0.0.0/0`, as E2B's clients write it, and `::/0`)."""
        return self.network is not None and not self.network.prefixlen and self.port is None

    def _fits(self, port: int) -> bool:
        return self.port is None or self.port == port


def read_entry(text: str) -> Entry:
    """Return what a line of an allow or deny list means: `host`, `host:port`, `*.domain[:port]`, an address or a network.

    Raises:
        ValueError: it means nothing.
    """
    network = _read_network(text)
    if network is not None:
        return Entry(network=network)
    body, colon, port_text = text.rpartition(":")
    if not colon or text.endswith("]"):
        body, port_text = text, ""
    port = None
    if port_text:
        port = int(port_text) if re.fullmatch(r"[0-9]{1,5}", port_text) else 0
        if not 0 < port <= _HIGHEST_PORT:
            message = f"{text!r}: the port must be from 1 to 65535"
            raise ValueError(message)
    network = _read_network(body)
    if network is not None:
        return Entry(network=network, port=port)
    subdomains = body.startswith("*.")
    host, address = read_host(body.removeprefix("*."))
    if address is not None:
        return Entry(network=ip_network(address), port=port)
    return Entry(name=host, subdomains=subdomains, port=port)


def _read_network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text[1:-1] if text.startswith("[") and text.endswith("]") else text, strict=False)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """An `EgressPolicy`, read."""

    public: bool
    allow: tuple[Entry, ...]
    deny: tuple[Entry, ...]
    owner_allow: tuple[Entry, ...] = ()
    owner_deny: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, policy: EgressPolicy) -> Rules:
        """Return the rules of a policy.

        Raises:
            ValueError: an entry is malformed.
        """
        lists = (policy.allow, policy.deny, policy.owner_allow, policy.owner_deny)
        return cls(policy.public, *(tuple(map(read_entry, texts)) for texts in lists))

    def check_name(self, destination: Destination) -> None:
        """Refuse what can be refused before a name is resolved (a look-up alone could carry data out).

        Raises:
            Refused: the name is denied, or neither listed nor public.
        """
        if any(entry.names(destination) for entry in self.deny) or self._owner_refuses_name(destination):
            raise _denied(destination)
        if destination.address is not None:
            self.check_addresses(destination, [destination.address])
        elif not self.public and not self._allows_name(destination):
            raise _unlisted(destination)

    def check_inner(self, destination: Destination) -> None:
        """Refuse the platform's own name only where a list names it: it is no part of the internet that an owner shuts off.

        Raises:
            Refused: an entry of a deny list is that very name.
        """
        denied = any(entry.names(destination) for entry in (*self.deny, *self.owner_deny))
        if denied and not any(entry.names(destination) for entry in self.owner_allow):
            raise _denied(destination)

    def check_addresses(self, destination: Destination, addresses: Sequence[Address], own: Collection[Address] = ()) -> list[Address]:
        """Return those of a destination's addresses that may be connected to, in their order.

        `own` are those among them that are the host's, public or not: they are refused as private ones are.

        Raises:
            Refused: none.
        """
        refusals: list[Refused] = []
        admitted: list[Address] = []
        for address in addresses:
            refusal = self._refusal(destination, address, own=address in own)
            if refusal is None:
                admitted.append(address)
            else:
                refusals.append(refusal)
        if not admitted:
            raise refusals[0] if refusals else Refused(f"{destination} has no address")
        return admitted

    def _owner_refuses_name(self, destination: Destination) -> bool:
        """Tell whether the owner's lists refuse a name, whatever its addresses are."""
        if any(entry.names(destination) for entry in self.owner_allow):
            return False
        if any(entry.names(destination) for entry in self.owner_deny):
            return True
        by_address = destination.address is not None or any(entry.network is not None for entry in self.owner_allow)
        return not by_address and any(entry.everything for entry in self.owner_deny)

    def _owner_refuses(self, destination: Destination, address: Address) -> bool:
        """Tell whether the owner's lists refuse an address of a destination; what he allows by name he allows wherever it is."""
        port = destination.port
        seen = (address, *embedded(address))
        if any(entry.names(destination) or any(entry.covers(one, port) for one in seen) for entry in self.owner_allow):
            return False
        return any(entry.everything or any(entry.covers(one, port) for one in seen) for entry in self.owner_deny)

    def _allows_name(self, destination: Destination) -> bool:
        return any(entry.names(destination) for entry in self.allow)

    def _refusal(self, destination: Destination, address: Address, *, own: bool) -> Refused | None:
        seen = (address, *embedded(address))
        if any(entry.covers(one, destination.port) for entry in self.deny for one in seen):
            return _denied(destination)
        if self._owner_refuses(destination, address):
            return _denied(destination)
        if self._allows_name(destination) or any(entry.covers(address, destination.port) for entry in self.allow):
            return None
        if is_private(address):
            return _private(destination, address, "a private address")
        if own:
            return _private(destination, address, "an address of the host")
        return None if self.public else _unlisted(destination)


def _denied(destination: Destination) -> Refused:
    return Refused(f"{destination} is on the deny list of this sandbox")


def _unlisted(destination: Destination) -> Refused:
    return Refused(f"{destination} is not on the allow list of this sandbox")


def _private(destination: Destination, address: Address, what: str) -> Refused:
    if destination.address is not None:
        return Refused(f"{destination} is {what} that is not on the allow list of this sandbox")
    return Refused(f"{destination} resolves to {address}, {what} that is not on the allow list of this sandbox")
