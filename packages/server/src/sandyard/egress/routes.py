"""Which addresses are this machine's own: the kernel is asked where it would send a packet (rtnetlink(7)).

A list of interfaces would not do: an address may be routed to the machine without standing on one.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandyard.egress.addresses import Address

_NEWROUTE, _GETROUTE = 24, 26
_REQUEST = 1
_DESTINATION = 1
_UNICAST = 1
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg; its last byte but the flags is the type
_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 7


def is_own(address: Address) -> bool:
    """Tell whether packets to `address` would stay on this machine, or go to everyone on its network.

    Where the kernel knows no way there, or does not tell, the answer is no: then connecting fails, or `is_private` has decided.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(1.0)
            kernel.sendto(_question(address), (0, 0))
            answer = kernel.recv(4096)
    except OSError:
        return False
    _, kind, _, _, _ = _HEAD.unpack_from(answer)
    return kind == _NEWROUTE and _ROUTE.unpack_from(answer, _HEAD.size)[_TYPE] != _UNICAST


def _question(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    route = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = route + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _DESTINATION) + address.packed
    return _HEAD.pack(_HEAD.size + len(body), _GETROUTE, _REQUEST, 1, 0) + body
