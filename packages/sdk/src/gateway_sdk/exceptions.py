"""What can go wrong with the gateway, one class per kind (seed 004, "错误处理").

GatewayError
├── AuthenticationError         who calls is not known, or may not do this
├── PrefabNotFoundError         there is no such prefab, version or function
├── StoredFileNotFoundError     there is no such file
├── JobNotFoundError            there is no such job
├── ValidationError             the request is wrong (also a ValueError)
├── QuotaExceededError          a quota is used up
│   └── RateLimitError          too many requests for the moment: `retry_after` says when
├── MissingSecretError          a secret that the function needs is not stored
├── AgentContextRequiredError   this is for agents only
├── PrefabExecutionError        the function itself failed: its author's fault, or its input's
└── ServiceUnavailableError     the platform failed, or could not be reached
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

UNKNOWN = "UNKNOWN_ERROR"

__all__ = [
    "AgentContextRequiredError",
    "AuthenticationError",
    "GatewayError",
    "JobNotFoundError",
    "MissingSecretError",
    "PrefabExecutionError",
    "PrefabNotFoundError",
    "QuotaExceededError",
    "RateLimitError",
    "ServiceUnavailableError",
    "StoredFileNotFoundError",
    "ValidationError",
]


class GatewayError(Exception):
    """A call of the gateway failed.

    `error_code` is the gateway's word for it, `request_id` what its log has it under, `status_code` the HTTP status (None where none
    came), `details` everything else that was said: JSON values by name.
    """

    def __init__(
        self,
        message: str = "",
        error_code: str = UNKNOWN,
        *,
        request_id: str | None = None,
        status_code: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code
        self.request_id = request_id
        self.status_code = status_code
        self.details: dict[str, Any] = {"error_code": error_code, **(details or {})}

    def __str__(self) -> str:
        return self.message

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same may work, where the gateway has said so."""
        found = self.details.get("retry_after")
        return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None

    def _text(self, name: str, otherwise: str = "") -> str:
        found = self.details.get(name)
        return str(found) if found is not None else otherwise

    def _number(self, name: str) -> int:
        found = self.details.get(name)
        return int(found) if isinstance(found, (int, float)) and found == found and abs(found) < float("inf") else 0  # noqa: PLR0124 (NaN)


class AuthenticationError(GatewayError):
    """The credential is missing, wrong or expired, or its owner may not do this (401, 403)."""


class PrefabNotFoundError(GatewayError):
    """There is no such prefab, version or function, or it is not yours to see (404)."""

    @property
    def prefab_id(self) -> str:
        """What was asked for."""
        return self._text("prefab_id", "unknown")

    @property
    def version(self) -> str:
        """What was asked for."""
        return self._text("version", "unknown")


class StoredFileNotFoundError(GatewayError):
    """There is no such file, or it has expired (404)."""

    @property
    def s3_url(self) -> str:
        """What was asked for."""
        return self._text("s3_url", "unknown")


class JobNotFoundError(GatewayError):
    """There is no such job, it is another's, or it ended more than a day ago (404)."""

    @property
    def job_id(self) -> str:
        """What was asked for."""
        return self._text("job_id", "unknown")


class ValidationError(GatewayError, ValueError):
    """The request is wrong; `pointer` (a JSON pointer into it) says where, if the gateway knows."""

    @property
    def pointer(self) -> str | None:
        """Where it is wrong."""
        found = self.details.get("pointer")
        return None if found is None else str(found)


class QuotaExceededError(GatewayError):
    """A quota is used up (429)."""

    @property
    def limit(self) -> int:
        """How much there is; 0 where the gateway has not said."""
        return self._number("limit")

    @property
    def used(self) -> int:
        """How much of it is used."""
        return self._number("used")

    @property
    def quota_type(self) -> str:
        """Which quota."""
        return self._text("quota_type", "unknown")

    @property
    def reset_at(self) -> Any:
        """When there is more again, as the gateway says it; None: it has not said."""
        return self.details.get("reset_at")


class RateLimitError(QuotaExceededError):
    """Too many requests for the moment (429); `retry_after` seconds later there is room again."""


class MissingSecretError(GatewayError):
    """The function needs a secret that its caller has not stored (400); `instructions` are its author's words on how to get one."""

    @property
    def prefab_id(self) -> str:
        """Which prefab needs it."""
        return self._text("prefab_id", "unknown")

    @property
    def secret_name(self) -> str:
        """What it is called."""
        return self._text("secret_name", "unknown")

    @property
    def instructions(self) -> str:
        """How to get one, by the prefab's author."""
        return self._text("instructions")


class AgentContextRequiredError(GatewayError):
    """Only agents have this: the credential names none (400). Third parties have `upload_input_file()`."""


class PrefabExecutionError(GatewayError):
    """The function failed while it ran: it raised, took too long or too much, or returned what is no result."""


class ServiceUnavailableError(GatewayError):
    """The platform failed, is not reachable, or did not answer in time."""
