"""`runtime.session`: the state of modules, loaded and saved whole, with one worker per session at a time across processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from agentapp.errors import SessionBusy, SessionError, SessionNotFound, SessionTooLarge, StoreError
from agentapp.sessions.ports import Key, name
from sandkit.serving.values import NotJsonError, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from agentapp.app import SessionContext
    from agentapp.config.model import SessionSettings
    from agentapp.sessions.ports import SessionStore

FIRST_LOOK = 0.02
LAST_LOOK = 0.25
"""Seconds between two looks at another process's lease: none of the stores tells across processes."""


class Module(Protocol):
    """What has state: AgentScope's `StateModule`, or anything with its two methods."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass(slots=True)
class Turn:
    """The handling of one message: what it has read of which session, and where it holds the lease."""

    context: SessionContext
    owner: str
    versions: dict[Key, int] = field(default_factory=dict[Key, int])
    leases: set[Key] = field(default_factory=set[Key])


_current: ContextVar[Turn | None] = ContextVar("agentapp_turn", default=None)


class Sessions:
    """Loads and saves the state of sessions of one app.

    Inside a turn the tenant is that of the message, the first access takes the session's lease, and a save is refused where
    somebody else has saved since this turn has read. `own` is the session of the sandbox that keeps the store: its state lies under no
    name, so that a fork of the sandbox, which has another, goes on with it.
    """

    def __init__(self, store: SessionStore, settings: SessionSettings, app: str, own: str = "") -> None:
        self._store = store
        self._settings = settings
        self._app = app
        self._own = own
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._held: dict[tuple[Key, str], None] = {}

    async def load_session_state(
        self, session_id: str, user_id: str = "", allow_not_exist: bool = True, **modules: Module
    ) -> dict[str, Any] | None:
        """Load what is kept into `modules`, by their names; return all of it, or None where there is no such session.

        Modules that were never saved stay as they are. Where one does not take its state, none is changed.

        Raises:
            SessionNotFound: there is no such session, and `allow_not_exist` is false.
            SessionBusy: another process has worked on the session for longer than `session.lease_wait`.
            StoreError: the store failed.
        """
        key = await self._claimed(session_id, user_id)
        stored = await self._store.load(key, time.time())
        turn = _current.get()
        if turn is not None:
            turn.versions[key] = stored.version if stored else 0
        if stored is None:
            if not allow_not_exist:
                raise SessionNotFound(f"there is no session {session_id!r}")
            return None
        states = {module: orjson.loads(body) for module, body in stored.modules.items()}
        _put({module: (part, states[module]) for module, part in modules.items() if module in states})
        return states

    async def save_session_state(self, session_id: str, user_id: str = "", **modules: Module) -> None:
        """Keep the state of `modules` under their names, all or none; what is kept of others stays.

        Raises:
            SessionConflict: somebody else has saved since this turn has loaded; nothing was changed.
            SessionTooLarge: the modules take more than `session.max_bytes`.
            SessionBusy, StoreError: as for loading.
        """
        key = await self._claimed(session_id, user_id)
        bodies = {name(module, "a module's name"): _encoded(module, part) for module, part in modules.items()}
        size = sum(map(len, bodies.values()))
        if size > self._settings.max_bytes:
            raise SessionTooLarge(f"the session's state has {size} bytes, more than session.max_bytes ({self._settings.max_bytes})")
        now = time.time()
        expires_at = None if self._settings.ttl is None else now + self._settings.ttl
        turn = _current.get()
        expected = turn.versions.get(key) if turn else None
        version = await self._store.save(key, bodies, expected=expected, expires_at=expires_at, now=now)
        if turn is not None:
            turn.versions[key] = version

    async def delete_session_state(self, session_id: str, user_id: str = "") -> None:
        """Forget the session."""
        key = await self._claimed(session_id, user_id)
        await self._store.delete(key)
        turn = _current.get()
        if turn is not None:
            turn.versions[key] = 0

    @asynccontextmanager
    async def turn(self, context: SessionContext) -> AsyncGenerator[Turn]:
        """Handle one message: leases that it takes end with the block."""
        turn = Turn(context, f"{self._process}:{next(self._numbers)}")
        _current.set(turn)
        try:
            yield turn
        finally:
            _current.set(None)
            for key in turn.leases:
                self._held.pop((key, turn.owner), None)
            if turn.leases:
                await self._released(turn)

    async def keep(self) -> None:
        """Renew, for ever, the leases that turns hold."""
        while True:
            await asyncio.sleep(self._settings.lease / 3)
            for key, owner in list(self._held):
                now = time.time()
                try:
                    await self._store.lease(key, owner, now + self._settings.lease, now)
                except StoreError:
                    continue  # a save will tell whether somebody else came in between

    async def _claimed(self, session_id: str, user_id: str) -> Key:
        """Return the session's key, with its lease taken if this is inside a turn."""
        turn = _current.get()
        key = Key.checked(self._app, turn.context.tenant_id if turn else "", user_id, session_id)
        if self._own and session_id == self._own:
            key = key._replace(session="")
        if turn is not None and key not in turn.leases:
            await self._lease(key, turn)
        return key

    async def _lease(self, key: Key, turn: Turn) -> None:
        wait = FIRST_LOOK
        deadline = time.monotonic() + self._settings.lease_wait
        while not await self._store.lease(key, turn.owner, time.time() + self._settings.lease, time.time()):
            if time.monotonic() + wait > deadline:
                raise SessionBusy(f"another process works on the session {key.session!r}; it did not end within session.lease_wait")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LAST_LOOK)
        turn.leases.add(key)
        self._held[key, turn.owner] = None

    async def _released(self, turn: Turn) -> None:
        for key in turn.leases:
            try:
                await self._store.release(key, turn.owner)
            except StoreError:
                continue  # it ends by its time


def _encoded(module: str, part: Module) -> bytes:
    try:
        return to_json(part.state_dict())
    except NotJsonError as error:
        raise SessionError(f"the state of {module!r} cannot be kept: {error}") from error


def _put(loads: Mapping[str, tuple[Module, dict[str, Any]]]) -> None:
    """Load every module, or none."""
    changed: list[tuple[Module, dict[str, Any]]] = []
    try:
        for part, state in loads.values():
            before = part.state_dict()
            part.load_state_dict(state)
            changed.append((part, before))
    except Exception as error:
        for part, before in changed:
            part.load_state_dict(before)
        raise SessionError(f"the kept state does not fit the modules {', '.join(loads)}: {type(error).__name__}: {error}") from error
