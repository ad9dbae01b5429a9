"""The one way out of sandboxes, as a service: a listener per sandbox, a policy per listener."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandyard.egress.account import Account, EgressLimits, Usage
from sandyard.egress.door import Door
from sandyard.egress.policy import Rules
from sandyard.egress.resolver import Resolver, SystemResolver

if TYPE_CHECKING:
    import socket

    from sandyard.domain.specs import EgressPolicy
    from sandyard.egress.inner import Inner


@dataclass(slots=True, eq=False)
class _Attached:
    account: Account
    listener: socket.socket
    serving: asyncio.Task[asyncio.Server]


class EgressProxy:
    """An HTTP proxy that knows each sandbox by the listener it comes through, never by what it says.

    `resolver` turns names into addresses (default: the host's); `inner` is the platform's own name.
    """

    def __init__(self, resolver: Resolver | None = None, *, limits: EgressLimits | None = None, inner: Inner | None = None) -> None:
        self._own = SystemResolver() if resolver is None else None
        self._resolver: Resolver = resolver or self._own or SystemResolver()
        self._limits = limits or EgressLimits()
        self.inner = inner
        self._attached: dict[str, _Attached] = {}
        self._doors: set[Door] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def attach(self, sandbox_id: str, listener: socket.socket, policy: EgressPolicy) -> None:
        """Serve `listener`, which from now on is the proxy's, under `policy`. A second call for a sandbox replaces the first.

        Connections made before this call wait in the kernel.

        Raises:
            ValueError: an entry of the policy is malformed; the listener is still the caller's.
        """
        rules = Rules.of(policy)
        self.detach(sandbox_id)
        account = Account(
            rules=rules,
            resolver=self._resolver,
            limits=self._limits,
            lookups=asyncio.Semaphore(self._limits.lookups),
            all_doors=self._doors,
            sandbox_id=sandbox_id,
            inner=self.inner,
        )
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        serving = loop.create_task(loop.create_server(lambda: Door(account), sock=listener, backlog=256))
        self._attached[sandbox_id] = _Attached(account, listener, serving)

    def change(self, sandbox_id: str, policy: EgressPolicy) -> None:
        """As `ports.EgressControl.change`."""
        rules = Rules.of(policy)
        attached = self._attached.get(sandbox_id)
        if attached is None or attached.account.rules == rules:
            return
        attached.account.rules = rules
        for door in list(attached.account.doors):
            door.recheck()

    def detach(self, sandbox_id: str) -> None:
        """Stop serving a sandbox and cut its connections. No error if unknown."""
        attached = self._attached.pop(sandbox_id, None)
        if attached is None:
            return
        task = asyncio.get_running_loop().create_task(_end(attached))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def usage(self, sandbox_id: str) -> Usage:
        """Return what an attached sandbox has used; nothing for others."""
        attached = self._attached.get(sandbox_id)
        if attached is None:
            return Usage()
        account = attached.account
        return Usage(account.bytes_out, account.bytes_in, account.refused)

    async def aclose(self) -> None:
        """Detach every sandbox. Idempotent."""
        for sandbox_id in list(self._attached):
            self.detach(sandbox_id)
        await asyncio.gather(*self._ending)
        if self._own is not None:
            self._own.close()


async def _end(attached: _Attached) -> None:
    account = attached.account
    try:
        server = await attached.serving
    except OSError:
        attached.listener.close()  # it died with its sandbox before we could serve it
    else:
        server.close()
        for door in list(account.doors):
            door.abort()
        for task in list(account.tasks):
            task.cancel()
        await asyncio.gather(*account.tasks, return_exceptions=True)
        await server.wait_closed()
