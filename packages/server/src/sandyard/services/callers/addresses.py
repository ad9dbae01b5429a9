"""From which address a request comes, behind proxies that are known, and whether it is on the allow list. Pure, no IO."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOPS = 50


def read_network(text: str) -> Network:
    """Return the network of an address or a CIDR; one of IPv4 addresses written as IPv6 (`::ffff:…`) is the IPv4 one.

    Raises:
        ValueError: it is none, or has bits set behind its prefix.
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        return ip_network(f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}")
    return network


def read_address(text: str) -> Address | None:
    """Return an address as proxies write it: with brackets or a port, mapped IPv6 as the IPv4 one. None: it is none."""
    text = text.strip()
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not (port.startswith(":") and port[1:].isdecimal()):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def client_address(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> Address | None:
    """Return who is at the other end: the peer, or, behind trusted proxies, the right-most hop that is none of these.

    None where it cannot be known: such a one is on no list.
    """
    address = read_address(peer) if peer else None
    hops = [hop for line in forwarded for hop in line.split(",", _HOPS + 1)][: 2 * _HOPS]
    if len(hops) > _HOPS:
        return None if address is None or covered(address, proxies) else address
    while address is not None and hops and covered(address, proxies):
        address = read_address(hops.pop())
    return address


def covered(address: Address | None, networks: Sequence[Network]) -> bool:
    """Whether the address lies in one of the networks."""
    return address is not None and any(address in network for network in networks)
