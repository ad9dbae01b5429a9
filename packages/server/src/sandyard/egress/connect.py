"""The way out: policy, one look-up, and a connection to exactly an address that was checked."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from sandyard.egress.routes import is_own

if TYPE_CHECKING:
    from sandyard.egress.account import Account
    from sandyard.egress.addresses import Address
    from sandyard.egress.inner import Inner
    from sandyard.egress.policy import Destination


class Unreachable(Exception):  # noqa: N818
    """The destination is allowed but cannot be reached; the message is a sentence."""


async def connect(account: Account, destination: Destination) -> tuple[socket.socket, Address]:
    """Return a connected, non-blocking socket to `destination`, and the address that it leads to.

    Raises:
        Refused: the policy says no.
        Unreachable: no such name, or nobody answers there.
        TimeoutError: `connect_timeout` is over.
    """
    async with asyncio.timeout(account.limits.connect_timeout):
        if account.inner is not None and account.inner.means(destination):
            return await _dial_inner(account, account.inner, destination)
        account.rules.check_name(destination)
        found = await _resolve(account, destination)
        addresses = _admitted(account, destination, found)
        problem: OSError | None = None
        for address in addresses:
            try:
                return await _dial_checked(account, destination, address), address
            except TimeoutError:
                raise
            except OSError as error:
                problem = error
    reason = (problem.strerror if problem else None) or "no answer"
    message = f"{destination} cannot be reached: {reason}"
    raise Unreachable(message) from problem


def check(account: Account, destination: Destination, address: Address) -> None:
    """Ask the policy about a way that stands already.

    Raises:
        Refused: the policy, which may have changed, says no.
    """
    if account.inner is not None and account.inner.means(destination):
        account.rules.check_inner(destination)
        return
    account.rules.check_name(destination)
    _admitted(account, destination, [address])


def _admitted(account: Account, destination: Destination, addresses: list[Address]) -> list[Address]:
    return account.rules.check_addresses(destination, addresses, own=[address for address in addresses if is_own(address)])


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


async def _dial_inner(account: Account, inner: Inner, destination: Destination) -> tuple[socket.socket, Address]:
    account.rules.check_inner(destination)
    try:
        return await inner.dial(account.sandbox_id)
    except OSError as error:
        raise Unreachable(f"{destination} cannot be reached: {error.strerror}") from error


async def _dial_checked(account: Account, destination: Destination, address: Address) -> socket.socket:
    """Connect; ask again if the policy changed meanwhile."""
    rules = account.rules
    sock = await _dial(address, destination.port)
    if account.rules is not rules:
        try:
            check(account, destination, address)
        except BaseException:
            sock.close()
            raise
    return sock


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
