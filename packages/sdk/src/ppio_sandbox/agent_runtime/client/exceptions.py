"""What can go wrong for a caller.

PPIOAgentRuntimeError
└── AgentClientError
    ├── AuthenticationError       no API key, or one that the platform does not know
    ├── TemplateNotFoundError     no such template, or none of this caller's
    ├── SandboxCreationError      the session could not be started
    ├── SessionNotFoundError      the session has ended, or never was
    ├── SandboxOperationError     pause, resume or refresh failed
    ├── InvocationError           the agent failed, or took too long
    ├── NetworkError              no whole answer arrived; trying again may help
    ├── RateLimitError            too much at once; `retry_after` says when to come back
    └── QuotaExceededError        what this account may use is used up

(seed 001 §6)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AgentClientError",
    "AuthenticationError",
    "InvocationError",
    "NetworkError",
    "QuotaExceededError",
    "RateLimitError",
    "SandboxCreationError",
    "SandboxOperationError",
    "SessionNotFoundError",
    "TemplateNotFoundError",
]


class AgentClientError(PPIOAgentRuntimeError):
    """A call through the client failed.

    `error_code` is the platform's word for it (`template_not_found`, `agent_crashed`, …) or None, `request_id` what to quote to the
    operator, `sandbox_id` the session concerned. `details` are JSON values; where the agent is at fault they hold `exit_code`
    and `output`, its last lines.
    """

    def __init__(
        self,
        message: str,
        error_code: str | None = None,
        *,
        request_id: str | None = None,
        sandbox_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, error_code)
        self.request_id = request_id
        self.sandbox_id = sandbox_id
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        """Return the message, with the request's id where there is one."""
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message

    def __repr__(self) -> str:
        """Return the class, the message and what identifies the failure; neither details nor output, which may be long."""
        known = {"error_code": self.error_code, "request_id": self.request_id, "sandbox_id": self.sandbox_id}
        told = "".join(f", {name}={value!r}" for name, value in known.items() if value is not None)
        return f"{type(self).__name__}({self.message!r}{told})"

    @property
    def exit_code(self) -> int | None:
        """The exit code of the agent that died, where that is what happened."""
        code = self.details.get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def output(self) -> str:
        """The last lines of the agent that died, or of the build that failed; else empty."""
        return str(self.details.get("output") or "")


class AuthenticationError(AgentClientError):
    """There is no API key, or the platform does not accept it."""


class TemplateNotFoundError(AgentClientError):
    """There is no such template for this caller."""


class SandboxCreationError(AgentClientError):
    """The session could not be started; nothing of it is left running."""


class SessionNotFoundError(AgentClientError):
    """There is no such session: it was closed, its time was up, its agent ended, or it never was. `details` may say which."""


class InvocationError(AgentClientError):
    """The agent failed, or did not answer in time."""


class NetworkError(AgentClientError):
    """No whole answer arrived: no connection, or one that ended early."""


class RateLimitError(AgentClientError):
    """Too much at once."""

    @property
    def retry_after(self) -> float | None:
        """Seconds after which to come back, where the platform said so."""
        seconds = self.details.get("retry_after")
        return float(seconds) if isinstance(seconds, (int, float)) else None


class QuotaExceededError(AgentClientError):
    """What this account may use is used up."""


class SandboxOperationError(AgentClientError):
    """Pausing, resuming or refreshing failed."""
