"""The way out: policy, one look-up, and a connection to exactly an address that was checked."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from sandyard.egress.routes import is_own

if TYPE_CHECKING:
    from sandyard.egress.account import Account
    from sandyard.egress.addresses import Address
    from sandyard.egress.policy import Destination


class Unreachable(Exception):  # noqa: N818
    """The destination is allowed but cannot be reached; the message is a sentence."""


async def connect(account: Account, destination: Destination) -> socket.socket:
    """Return a connected, non-blocking socket to `destination`.

    Raises:
        Refused: the policy says no.
        Unreachable: no such name, or nobody answers there.
        TimeoutError: `connect_timeout` is over.
    """
    async with asyncio.timeout(account.limits.connect_timeout):
        account.rules.check_name(destination)
        found = await _resolve(account, destination)
        addresses = account.rules.check_addresses(destination, found, own=[address for address in found if is_own(address)])
        problem: OSError | None = None
        for address in addresses:
            try:
                return await _dial(address, destination.port)
            except TimeoutError:
                raise
            except OSError as error:
                problem = error
    reason = (problem.strerror if problem else None) or "no answer"
    message = f"{destination} cannot be reached: {reason}"
    raise Unreachable(message) from problem


async def _resolve(account: Account, destination: Destination) -> list[Address]:
    if destination.address is not None:
        return [destination.address]
    async with account.lookups:
        try:
            return list(await account.resolver(destination.host, destination.port))
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            message = f"the name {destination.host} cannot be resolved"
            raise Unreachable(message) from error


async def _dial(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
