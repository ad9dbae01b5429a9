"""What a session is as last seen from here: the part of both session classes that sends nothing."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.client import rules
from ppio_sandbox.agent_runtime.client.exceptions import AgentClientError
from ppio_sandbox.agent_runtime.client.models import SessionStatus

if TYPE_CHECKING:
    from collections.abc import Generator


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

    def _ended(self) -> None:
        """Note that the session has ended: there is nothing left to close."""
        raise NotImplementedError

    def _saw(self, status: SessionStatus) -> None:
        if status is not self.status and status in (SessionStatus.CLOSED, SessionStatus.ERROR):
            self._ended()
        self.status = status

    def _learn(self, error: AgentClientError) -> None:
        """Remember what a failure says of the session's state."""
        self._saw(rules.status_told_by(error, self.status))

    @contextmanager
    def _operation(self, verb: str) -> Generator[None]:
        """Name the operation in its failure, and learn from that."""
        try:
            with rules.operating(verb, self.sandbox_id):
                yield
        except AgentClientError as error:
            self._learn(error)
            raise

    def __repr__(self) -> str:
        told = f"sandbox_id={self.sandbox_id!r}, template_id={self.template_id!r}, status={self.status.value!r}"
        return f"{type(self).__name__}({told})"
