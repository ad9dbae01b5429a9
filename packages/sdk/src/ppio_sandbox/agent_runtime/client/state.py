"""What a session is as last seen from here: the part of both session classes that sends nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from ppio_sandbox.agent_runtime.client.models import SessionStatus


class SessionState:
    """A session's template, life and state; its id is the sandbox's."""

    def __init__(self, template_id: str, timeout_seconds: int, created_at: datetime | None) -> None:
        self.template_id = template_id
        self.timeout_seconds = timeout_seconds
        self.status = SessionStatus.ACTIVE
        """As last seen from here; `get_status` asks the platform."""
        self.last_activity = datetime.now(UTC)
        self.created_at = created_at or self.last_activity

    @property
    def sandbox_id(self) -> str:
        """The id of the sandbox, which is the session's."""
        raise NotImplementedError

    @property
    def session_id(self) -> str:
        """The same as `sandbox_id`."""
        return self.sandbox_id

    @property
    def is_active(self) -> bool:
        """Whether the session takes calls, as last seen from here."""
        return self.status is SessionStatus.ACTIVE

    @property
    def is_paused(self) -> bool:
        """Whether the session is paused, as last seen from here."""
        return self.status is SessionStatus.PAUSED

    @property
    def age_seconds(self) -> float:
        """Seconds since the sandbox was started."""
        return (datetime.now(self.created_at.tzinfo) - self.created_at).total_seconds()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call through this object."""
        return (datetime.now(self.last_activity.tzinfo) - self.last_activity).total_seconds()

    def __repr__(self) -> str:
        told = f"sandbox_id={self.sandbox_id!r}, template_id={self.template_id!r}, status={self.status.value!r}"
        return f"{type(self).__name__}({told})"
