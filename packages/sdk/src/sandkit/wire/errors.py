"""Every failure that crosses the wire, once: slug <-> HTTP status <-> whose fault it was.

A server raises `ApiError`, renders it with `ApiError.body()`; a client reads the body back with `ApiError.from_reply()` and
each face turns the slug into a class of its own tree. The body is E2B's `{"code", "message"}` (clients of that family refuse
anything else) with `error_code`, `request_id` and `details` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_ID_HEADER = "x-request-id"


class Fault(StrEnum):
    """Whose fault a failure is: what the reader should look at first."""

    CALLER = "caller"
    AGENT = "agent"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure."""

    slug: str
    status: int
    fault: Fault


def _problem(slug: str, status: int, fault: Fault) -> Problem:
    return Problem(slug, int(status), fault)


INVALID_REQUEST = _problem("invalid_request", HTTPStatus.BAD_REQUEST, Fault.CALLER)
INVALID_PACKAGE = _problem("invalid_package", HTTPStatus.BAD_REQUEST, Fault.CALLER)
INVALID_MANIFEST = _problem("invalid_manifest", HTTPStatus.BAD_REQUEST, Fault.CALLER)
UNAUTHENTICATED = _problem("unauthenticated", HTTPStatus.UNAUTHORIZED, Fault.CALLER)
FORBIDDEN = _problem("forbidden", HTTPStatus.FORBIDDEN, Fault.CALLER)
NOT_FOUND = _problem("not_found", HTTPStatus.NOT_FOUND, Fault.CALLER)
TEMPLATE_NOT_FOUND = _problem("template_not_found", HTTPStatus.NOT_FOUND, Fault.CALLER)
BUILD_NOT_FOUND = _problem("build_not_found", HTTPStatus.NOT_FOUND, Fault.CALLER)
SANDBOX_NOT_FOUND = _problem("sandbox_not_found", HTTPStatus.NOT_FOUND, Fault.CALLER)
METHOD_NOT_ALLOWED = _problem("method_not_allowed", HTTPStatus.METHOD_NOT_ALLOWED, Fault.CALLER)
REQUEST_TIMEOUT = _problem("request_timeout", HTTPStatus.REQUEST_TIMEOUT, Fault.CALLER)
CONFLICT = _problem("conflict", HTTPStatus.CONFLICT, Fault.CALLER)
TEMPLATE_NOT_READY = _problem("template_not_ready", HTTPStatus.CONFLICT, Fault.CALLER)
TOO_LARGE = _problem("too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Fault.CALLER)
AGENT_FAILED = _problem("agent_failed", HTTPStatus.FAILED_DEPENDENCY, Fault.AGENT)
RATE_LIMITED = _problem("rate_limited", HTTPStatus.TOO_MANY_REQUESTS, Fault.CALLER)
HEADERS_TOO_LARGE = _problem("headers_too_large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, Fault.CALLER)
INTERNAL = _problem("internal", HTTPStatus.INTERNAL_SERVER_ERROR, Fault.PLATFORM)
NOT_IMPLEMENTED = _problem("not_implemented", HTTPStatus.NOT_IMPLEMENTED, Fault.PLATFORM)
SANDBOX_GONE = _problem("sandbox_gone", HTTPStatus.BAD_GATEWAY, Fault.CALLER)
SANDBOX_PAUSED = _problem("sandbox_paused", HTTPStatus.BAD_GATEWAY, Fault.CALLER)
PORT_CLOSED = _problem("port_closed", HTTPStatus.BAD_GATEWAY, Fault.AGENT)
AGENT_CRASHED = _problem("agent_crashed", HTTPStatus.BAD_GATEWAY, Fault.AGENT)
UNAVAILABLE = _problem("unavailable", HTTPStatus.SERVICE_UNAVAILABLE, Fault.PLATFORM)
AGENT_TIMEOUT = _problem("agent_timeout", HTTPStatus.GATEWAY_TIMEOUT, Fault.AGENT)
STORAGE_FULL = _problem("storage_full", HTTPStatus.INSUFFICIENT_STORAGE, Fault.PLATFORM)

PROBLEMS: Mapping[str, Problem] = {value.slug: value for value in list(globals().values()) if isinstance(value, Problem)}


class ApiError(Exception):
    """A failure with a place on the wire.

    `message` says what happened and what to do; `details` holds JSON values for programs (`exit_code`, `output`: the agent's
    last lines, `retry_after`: seconds). `request_id` is attached once, where the request is known, never at the raise.
    """

    def __init__(
        self,
        problem: Problem,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.request_id = request_id

    def body(self) -> dict[str, Any]:
        """Return the JSON body; `code` is the HTTP status, as E2B clients expect."""
        body: dict[str, Any] = {"code": self.problem.status, "message": self.message, "error_code": self.problem.slug}
        if self.request_id is not None:
            body["request_id"] = self.request_id
        if self.details:
            body["details"] = self.details
        return body

    @classmethod
    def from_reply(cls, status: int, body: object, *, request_id: str | None = None) -> ApiError:
        """Build the error from a reply of status 400 or more; `body` is the decoded JSON, or whatever text there was."""
        if not isinstance(body, dict):
            text = str(body).strip()[:2000] if body else ""
            return cls(_by_status(status), text or f"HTTP {status}", request_id=request_id)
        fields = cast("dict[str, Any]", body)
        problem = PROBLEMS.get(str(fields.get("error_code"))) or _by_status(status)
        details = fields.get("details")
        return cls(
            Problem(problem.slug, status, problem.fault),
            str(fields.get("message") or fields.get("error") or f"HTTP {status}"),
            details=cast("dict[str, Any]", details) if isinstance(details, dict) else None,
            request_id=str(fields.get("request_id") or request_id or "") or None,
        )


def _by_status(status: int) -> Problem:
    for problem in PROBLEMS.values():
        if problem.status == status:
            return problem
    return Problem(f"http_{status}", status, Fault.CALLER if status < HTTPStatus.INTERNAL_SERVER_ERROR else Fault.PLATFORM)
