"""The plug point: what keeps session state. Every implementation passes `agentapp.sessions.conformance`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agentapp.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[\w.:@-]{1,128}", re.ASCII)


class Key(NamedTuple):
    """Which session. All parts are checked names; tenant and user may be empty. Two keys that differ anywhere never meet."""

    app: str
    tenant: str
    user: str
    session: str

    @classmethod
    def checked(cls, app: str, tenant: object, user: object, session: object) -> Key:
        """Return the key.

        Raises:
            RequestError: a part is not 1 to 128 letters, digits, or one of `_ . : @ -`.
        """
        return cls(app, name(tenant or "", "tenant_id", empty=True), name(user or "", "user_id", empty=True), name(session, "session_id"))


def name(value: object, what: str, *, empty: bool = False) -> str:
    """Return a name that may be part of a key. Raises as `Key.checked`."""
    if isinstance(value, str) and (_NAME.fullmatch(value) or (empty and not value)):
        return value
    if not value:
        raise RequestError(f"{what} is required")
    raise RequestError(f"{what} must be 1 to 128 letters, digits, or one of _ . : @ -")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a session: a version that grows with each save, and JSON by module."""

    version: int
    modules: Mapping[str, bytes]


class SessionStore(Protocol):
    """Rows of session state. `open` before anything else, `close` at the end; every verb raises `StoreError` where the store fails.

    Times are Unix seconds. What has expired is not there, whether or not it still takes room.
    """

    async def open(self) -> None:
        """Connect, and make what is missing."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def load(self, key: Key, now: float) -> Stored | None:
        """Return what is kept, all modules as of one moment; None where there is nothing."""
        ...

    async def save(self, key: Key, modules: Mapping[str, bytes], *, expected: int | None, expires_at: float | None, now: float) -> int:
        """Put modules in, all or none, beside those that are not named; return the new version.

        `expected` is the version that the caller has read, 0 if there was none, None if it does not mind.

        Raises:
            SessionConflict: the version is another one now; nothing was changed.
        """
        ...

    async def delete(self, key: Key) -> None:
        """Forget the session's state."""
        ...

    async def lease(self, key: Key, owner: str, until: float, now: float) -> bool:
        """Let only `owner` work on the session `until` then; True if it may, also where it already did."""
        ...

    async def release(self, key: Key, owner: str) -> None:
        """End the lease, if it is `owner`'s."""
        ...
