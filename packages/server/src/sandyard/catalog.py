"""The catalog: what the ingress may know, held in memory, written by the services, read by the data plane.

It is derived: every entry follows from rows and from what the back end reported, so a restarted server fills it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandyard.domain.sandboxes import SandboxState


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One sandbox as the ingress sees it. `access_token` admits to every port; `public` admits everyone to all but the guest's."""

    sandbox_id: str
    owner: str
    agent: str
    """The template's name: what the internal token calls the agent. Empty: it runs none, and nothing inside may act for its owner."""
    state: SandboxState
    access_token: str
    public: bool = False
    traffic_token: str = ""
    """Admits to every port but the guest's; empty for a public one."""
    auto_resume: bool = False
    """Traffic to it resumes it when it is paused (`services.lifecycle.Lifecycle.wake`)."""
    mask_request_host: str = ""
    """The Host that it reads in place of the caller's; `${PORT}` in it stands for the port that is asked for."""
    https_ports: tuple[int, ...] = ()
    """Ports on which it speaks TLS itself."""
    reason: str = ""
    exit_code: int | None = None
    output: str = ""


class Catalog:
    """Routes by sandbox id and by access token. Ended sandboxes stay for a while (bounded), so that callers hear why."""

    def __init__(self, *, keep_ended: int = 1000) -> None:
        self._routes: dict[str, Route] = {}
        self._by_token: dict[str, str] = {}
        self._keep_ended = keep_ended
        self._ended: dict[str, None] = {}
        self._changed: dict[str, asyncio.Event] = {}

    def get(self, sandbox_id: str) -> Route | None:
        return self._routes.get(sandbox_id)

    def by_token(self, token: str) -> Route | None:
        sandbox_id = self._by_token.get(token)
        return None if sandbox_id is None else self._routes.get(sandbox_id)

    def living(self) -> Iterator[Route]:
        """Yield the routes of sandboxes that have not ended."""
        return (self._routes[sandbox_id] for sandbox_id in self._by_token.values())

    def put(self, route: Route) -> None:
        """Enter or replace a route and wake who waits for its change."""
        self._routes[route.sandbox_id] = route
        if route.state.final:
            self._by_token.pop(route.access_token, None)
            self._ended[route.sandbox_id] = None
            while len(self._ended) > self._keep_ended:
                oldest = next(iter(self._ended))
                del self._ended[oldest]
                self._routes.pop(oldest, None)
        else:
            self._by_token[route.access_token] = route.sandbox_id
        event = self._changed.pop(route.sandbox_id, None)
        if event is not None:
            event.set()

    async def changed(self, sandbox_id: str) -> None:
        """Return when the sandbox's route is replaced next."""
        event = self._changed.setdefault(sandbox_id, asyncio.Event())
        await event.wait()
