"""Addresses: read in every spelling, seen through every embedding. Pure, no IO."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; the clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
        "192.168.0.0/16",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, with the broadcast address
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 of local use
        "fc00::/7",  # unique local
        "fe80::/10",
        "fec0::/10",  # site-local, deprecated, still routed by some
        "ff00::/8",
    )
)
_LOW_32 = tuple(
    IPv6Network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated (SIIT)
        "64:ff9b::/96",  # NAT64
    )
)
_ISATAP = re.compile(rb".{8}[\x00\x02]\x00\x5e\xfe", re.DOTALL)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)


def is_private(address: Address) -> bool:
    """Tell whether the address, or an IPv4 address that it embeds, is of the host's side of the world.

    Not `not is_global`: documentation ranges are in real use on some networks.
    """
    return any(candidate in network for candidate in (address, *embedded(address)) for network in _PRIVATE)


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that packets to this IPv6 address may end at."""
    if isinstance(address, IPv4Address):
        return ()
    packed = address.packed
    found: list[bytes] = []
    if any(address in network for network in _LOW_32) or _ISATAP.match(packed):
        found.append(packed[12:])
    if packed.startswith(b"\x20\x02"):  # 6to4
        found.append(packed[2:6])
    if packed.startswith(b"\x20\x01\x00\x00"):  # Teredo: server, and the client inverted
        found += [packed[4:8], bytes(byte ^ 0xFF for byte in packed[12:])]
    return tuple(IPv4Address(part) for part in found)


def read_address(host: str) -> Address | None:
    """Return the address that `host` spells, as lenient resolvers read it (`127.1`, `0x7f000001`, `2130706433`), or None.

    Raises:
        ValueError: it is no name and no address (`1.2.3.4.5`, `256.1.1.1`), or has a zone.
    """
    if ":" in host:
        if "%" in host:
            message = "addresses with a zone are not allowed"
            raise ValueError(message)
        return ip_address(host)
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        message = f"{host} is no address"
        raise ValueError(message) from None
