"""The gateway's failures on the wire, once: error code <-> HTTP status, the body, and the exception that carries them.

The body is `{"detail": {"error_code", "message", "request_id", …}}`: the clients of seed 004 read the code from a dict in `detail`.
The same codes stand in the `error` of a FAILED result; those that only stand there have no status of their own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

BAD_REQUEST: Final = "BAD_REQUEST"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
PERMISSION_DENIED: Final = "PERMISSION_DENIED"
NOT_FOUND: Final = "NOT_FOUND"
METHOD_NOT_ALLOWED: Final = "METHOD_NOT_ALLOWED"
CONFLICT: Final = "CONFLICT"
VERSION_EXISTS: Final = "VERSION_EXISTS"
NOT_READY: Final = "NOT_READY"
VALIDATION_ERROR: Final = "VALIDATION_ERROR"
PACKAGE_INVALID: Final = "PACKAGE_INVALID"
MISSING_SECRET: Final = "MISSING_SECRET"  # noqa: S105 (a code)
MISSING_AGENT_CONTEXT: Final = "MISSING_AGENT_CONTEXT"
PAYLOAD_TOO_LARGE: Final = "PAYLOAD_TOO_LARGE"
UNSUPPORTED_MEDIA_TYPE: Final = "UNSUPPORTED_MEDIA_TYPE"
QUOTA_EXCEEDED: Final = "QUOTA_EXCEEDED"
RATE_LIMITED: Final = "RATE_LIMITED"
IDEMPOTENCY_MISMATCH: Final = "IDEMPOTENCY_MISMATCH"
IDEMPOTENCY_IN_PROGRESS: Final = "IDEMPOTENCY_IN_PROGRESS"
REQUEST_TIMEOUT: Final = "REQUEST_TIMEOUT"
PRECONDITION_FAILED: Final = "PRECONDITION_FAILED"
RANGE_NOT_SATISFIABLE: Final = "RANGE_NOT_SATISFIABLE"
INTERNAL: Final = "INTERNAL"
UNAVAILABLE: Final = "UNAVAILABLE"
STORAGE_FULL: Final = "STORAGE_FULL"

FUNCTION_ERROR: Final = "FUNCTION_ERROR"
"""The function raised; the message is the exception's."""
TIMEOUT: Final = "TIMEOUT"
"""The function went on past its limit and was killed, with all that it had started."""
WORKER_DIED: Final = "WORKER_DIED"
"""The function's process ended without a result (`exit_code` or `signal` say how), or broke the protocol."""
RESOURCE_EXCEEDED: Final = "RESOURCE_EXCEEDED"
"""The function wanted more memory, disk, processes or files than it may have."""
OUTPUT_TOO_LARGE: Final = "OUTPUT_TOO_LARGE"
OUTPUT_INVALID: Final = "OUTPUT_INVALID"
"""What the function returned is no JSON object."""
EVENT_TOO_LARGE: Final = "EVENT_TOO_LARGE"
CANCELLED: Final = "CANCELLED"
INTERRUPTED: Final = "INTERRUPTED"
"""The server ended while the call ran; whether the function did its work is not known."""

STATUS: Final[Mapping[str, int]] = {
    BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    NOT_FOUND: HTTPStatus.NOT_FOUND,
    METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    CONFLICT: HTTPStatus.CONFLICT,
    VERSION_EXISTS: HTTPStatus.CONFLICT,
    NOT_READY: HTTPStatus.CONFLICT,
    VALIDATION_ERROR: HTTPStatus.UNPROCESSABLE_ENTITY,
    PACKAGE_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    MISSING_SECRET: HTTPStatus.BAD_REQUEST,
    MISSING_AGENT_CONTEXT: HTTPStatus.BAD_REQUEST,
    PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    QUOTA_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    IDEMPOTENCY_MISMATCH: HTTPStatus.UNPROCESSABLE_ENTITY,
    IDEMPOTENCY_IN_PROGRESS: HTTPStatus.CONFLICT,
    REQUEST_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    PRECONDITION_FAILED: HTTPStatus.PRECONDITION_FAILED,
    RANGE_NOT_SATISFIABLE: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    STORAGE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}

EVENT_TYPES: Final = ("start", "content", "progress", "done", "error")
EVENT_LIMIT: Final = 256 * 1024
"""Bytes of one event's JSON: public clients read long lines in quadratic time."""


class Refusal(Exception):  # noqa: N818 (read as a sentence: the refusal of a request, or of one call of a batch)
    """A failure with a place on the gateway's wire.

    `details` are JSON values beside code and message (`prefab_id`, `secret_name`, `limit`, `retry_after` in seconds, `pointer`, …).
    Where exactly one call was asked for it becomes the HTTP answer; among several calls it becomes that call's FAILED result.
    """

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: dict[str, Any] = details

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return int(STATUS.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR))

    def error(self) -> dict[str, Any]:
        """Return the `error` of a FAILED result."""
        return {"error_code": self.code, "message": self.message, **self.details}

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the body of an HTTP answer."""
        return {"detail": {**self.error(), "request_id": request_id}}

    @classmethod
    def from_reply(cls, status: int, body: object) -> Refusal:
        """Read an HTTP answer of status 400 or more; `body` is the decoded JSON, or whatever text there was."""
        detail: object = cast("dict[str, Any]", body).get("detail") if isinstance(body, dict) else None
        if isinstance(detail, dict):
            fields = dict(cast("dict[str, Any]", detail))
            code, message = str(fields.pop("error_code", _by_status(status))), str(fields.pop("message", f"HTTP {status}"))
            return cls(code, message, **{str(name): value for name, value in fields.items() if name not in ("code", "message", "self")})
        said: object = detail or cast("object", body) or ""
        text = str(said).strip()[:2000]
        return cls(_by_status(status), text or f"HTTP {status}")


def _by_status(status: int) -> str:
    return next((code for code, known in STATUS.items() if known == status), f"HTTP_{status}")
