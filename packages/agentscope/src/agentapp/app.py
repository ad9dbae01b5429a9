"""What a user writes: a class with `__call__`, and what it is called with (seed 003)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What surrounds a message.

    `metadata` is what the caller sent beside it, unchecked: whoever calls the app vouches for `user_id` and `tenant_id`.
    """

    session_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    request_id: str = ""

    @property
    def user_id(self) -> str:
        """The caller's word for the user, or nothing."""
        return str(self.metadata.get("user_id") or "")

    @property
    def tenant_id(self) -> str:
        """The caller's word for the tenant, or nothing. Sessions of one id under two tenants are two sessions."""
        return str(self.metadata.get("tenant_id") or "")


class AgentApp:
    """An app: subclass it, write `__call__`, and serve it with `agentscope run`.

    There is one instance per session, so `self` may hold what belongs to a session; `server.isolation: shared` makes one instance
    serve all of them. A session's messages come one after the other.
    """

    def __call__(self, msg: Any, ctx: SessionContext) -> Any:
        """Answer a message: an async generator of `Msg` streams; a coroutine or a plain function returns one, or None for no answer."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, msg, ctx)")

    async def on_startup(self) -> None:
        """Prepare the instance, before its first message."""

    async def on_shutdown(self) -> None:
        """Release what the instance holds: at the end, and when it makes room for another session's."""
