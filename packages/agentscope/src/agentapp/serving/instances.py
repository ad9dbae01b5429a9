"""Instances of the app: one per session, the least recently used makes room; a session's messages come one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentapp.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from agentapp.app import AgentApp

    Session = tuple[str, str]

logger = logging.getLogger("agentapp")

SHUTDOWN_SECONDS = 10.0


@dataclass(slots=True)
class _Place:
    """Where a session's instance is; `users` are those that have it or wait for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    app: AgentApp | None = None
    users: int = 0


@dataclass(slots=True)
class Loan:
    """An instance for the length of a message."""

    app: AgentApp
    spoilt: bool = False
    """Set it where the instance was stopped in the middle: the session's next message gets a new one."""


class Instances:
    """`make` makes an instance and starts it. There are at most `limit`; at most `max_waiting` messages wait for one session."""

    def __init__(self, make: Callable[[], Awaitable[AgentApp]], *, limit: int, max_waiting: int, shared: bool) -> None:
        self._make = make
        self._limit = limit
        self._max_waiting = max_waiting
        self._shared = shared
        self._places: OrderedDict[Session, _Place] = OrderedDict()
        self._spare: AgentApp | None = None
        self._leaving: asyncio.Queue[AgentApp] = asyncio.Queue()

    def __len__(self) -> int:
        return len(self._places)

    async def prepare(self) -> AgentApp:
        """Make the first instance, which the first session gets (or all of them do): a start that fails is seen at once."""
        self._spare = await self._make()
        return self._spare

    @asynccontextmanager
    async def lent(self, session: Session) -> AsyncGenerator[Loan]:
        """Give the session's instance, when those that asked before have given it back.

        Raises:
            OverloadedError: all instances are in use, or too many messages wait for this session.
        """
        place = self._place(session)
        place.users += 1
        try:
            async with place.lock:
                loan = Loan(place.app or await self._another())
                if not self._shared:
                    place.app = loan.app
                try:
                    yield loan
                finally:
                    if loan.spoilt and not self._shared:
                        self._leaving.put_nowait(loan.app)
                        place.app = None
        finally:
            place.users -= 1
            if place.app is None and not place.users:
                self._places.pop(session, None)

    async def farewell(self) -> None:
        """Shut instances down, for ever, as they leave."""
        while True:
            await _shut_down(await self._leaving.get())

    async def close(self) -> None:
        """Shut every instance down."""
        apps = [place.app for place in self._places.values() if place.app] + ([self._spare] if self._spare else [])
        while not self._leaving.empty():
            apps.append(self._leaving.get_nowait())
        self._places.clear()
        self._spare = None
        await asyncio.gather(*map(_shut_down, apps))

    def _place(self, session: Session) -> _Place:
        place = self._places.get(session)
        if place is None:
            if len(self._places) >= self._limit:
                self._make_room()
            place = self._places[session] = _Place()
        self._places.move_to_end(session)
        if place.users > self._max_waiting:
            raise OverloadedError(f"{self._max_waiting} messages wait for this session already")
        return place

    def _make_room(self) -> None:
        idle = next((session for session, place in self._places.items() if not place.users), None)
        if idle is None:
            raise OverloadedError(f"all {self._limit} instances of the app are in use")
        app = self._places.pop(idle).app
        if app is not None:
            self._leaving.put_nowait(app)

    async def _another(self) -> AgentApp:
        if self._shared:
            if self._spare is None:
                self._spare = await self._make()
            return self._spare
        spare, self._spare = self._spare, None
        return spare or await self._make()


async def _shut_down(app: AgentApp) -> None:
    try:
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await app.on_shutdown()
    except Exception:
        logger.exception("on_shutdown failed")
