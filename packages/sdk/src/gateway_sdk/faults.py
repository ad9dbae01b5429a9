"""From what happened to the exception that says so: the one table of codes and classes, and everything that reads failures.

No message may hold a credential: URLs lose what follows their `?`, and the client's own tokens are struck out.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, cast

from gateway_sdk.exceptions import (
    UNKNOWN,
    AgentContextRequiredError,
    AuthenticationError,
    GatewayError,
    JobNotFoundError,
    MissingSecretError,
    PrefabExecutionError,
    PrefabNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    StoredFileNotFoundError,
    ValidationError,
)
from sandkit.http.errors import ConnectFailedError, TimedOutError
from sandkit.wire import gateway as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandkit.http.errors import TransportError
    from sandkit.http.messages import Reply

CLASS_OF: Final[Mapping[str, type[GatewayError]]] = {
    wire.UNAUTHENTICATED: AuthenticationError,
    wire.PERMISSION_DENIED: AuthenticationError,
    wire.NOT_FOUND: PrefabNotFoundError,
    wire.VALIDATION_ERROR: ValidationError,
    wire.PACKAGE_INVALID: ValidationError,
    wire.IDEMPOTENCY_MISMATCH: ValidationError,
    wire.QUOTA_EXCEEDED: QuotaExceededError,
    wire.RATE_LIMITED: RateLimitError,
    wire.MISSING_SECRET: MissingSecretError,
    wire.MISSING_AGENT_CONTEXT: AgentContextRequiredError,
    wire.INTERNAL: ServiceUnavailableError,
    wire.UNAVAILABLE: ServiceUnavailableError,
    wire.STORAGE_FULL: ServiceUnavailableError,
    wire.INTERRUPTED: ServiceUnavailableError,
    wire.FUNCTION_ERROR: PrefabExecutionError,
    wire.TIMEOUT: PrefabExecutionError,
    wire.WORKER_DIED: PrefabExecutionError,
    wire.RESOURCE_EXCEEDED: PrefabExecutionError,
    wire.OUTPUT_TOO_LARGE: PrefabExecutionError,
    wire.OUTPUT_INVALID: PrefabExecutionError,
    wire.EVENT_TOO_LARGE: PrefabExecutionError,
    wire.CANCELLED: PrefabExecutionError,
}
"""Code to class. What is not here goes by its HTTP status, and what has none is a plain `GatewayError`."""

_BY_STATUS: Final[Mapping[int, type[GatewayError]]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: PrefabNotFoundError,
    422: ValidationError,
    429: QuotaExceededError,
}
_URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_XML = re.compile(r"<(Code|Message)>([^<]{0,300})</\1>")
_SHOWN = 500


def from_reply(reply: Reply, about: Mapping[str, Any], hidden: Iterable[str] = ()) -> GatewayError:
    """Return the exception for an answer that is no success. `about` is what was asked for, `hidden` what no message may hold.

    Whatever the answer is, this returns: a body that is no JSON, or has another shape, is told by its status.
    """
    code, message, fields = _read(reply.body, reply.status)
    if 300 <= reply.status < 400:
        message = f"the address answers with a redirect (HTTP {reply.status}), which the gateway never does: name the gateway's own address"
    request_id = _id(fields, reply)
    seconds = retry_after(reply.headers.get("retry-after"))
    details = {**about, **fields, **({} if seconds is None else {"retry_after": seconds})}
    return make(code, message, details, status=reply.status, request_id=request_id, hidden=hidden)


def from_result(error: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> GatewayError:
    """Return the exception for the `error` of a FAILED result."""
    fields = dict(error)
    code, message = str(fields.pop("error_code", UNKNOWN)), str(fields.pop("message", "the call failed"))
    return make(code, message, {**(about or {}), **fields})


def from_transport(error: TransportError, hidden: Iterable[str] = ()) -> GatewayError:
    """Return the exception for an answer that did not arrive."""
    code = "TIMEOUT" if isinstance(error, TimedOutError) else "CONNECT_FAILED" if isinstance(error, ConnectFailedError) else "NETWORK"
    return ServiceUnavailableError(scrubbed(str(error), hidden), code)


def unreadable(what: str, status: int | None = None) -> GatewayError:
    """Return the exception for a successful answer in another shape than the contract says."""
    return GatewayError(f"the gateway's answer cannot be read: {what}", "UNREADABLE_REPLY", status_code=status)


def make(
    code: str,
    message: str,
    details: Mapping[str, Any],
    *,
    status: int | None = None,
    request_id: str | None = None,
    hidden: Iterable[str] = (),
) -> GatewayError:
    """Return the exception of a code, or of a status where the code is not known."""
    kind = CLASS_OF.get(code) or _BY_STATUS.get(status or 0) or (ServiceUnavailableError if (status or 0) >= 500 else GatewayError)
    if kind is PrefabNotFoundError and "s3_url" in details:
        kind = StoredFileNotFoundError
    elif kind is PrefabNotFoundError and status is not None and "job_id" in details:
        kind = JobNotFoundError
    hidden = tuple(hidden)
    told = {name: scrubbed(value, hidden) if isinstance(value, str) else value for name, value in details.items()}
    told.pop("error_code", None)
    return kind(scrubbed(message, hidden), code, request_id=request_id, status_code=status, details=told)


def scrubbed(text: str, hidden: Iterable[str] = ()) -> str:
    """Return `text` without the queries of URLs (signatures are there) and without `hidden`."""
    for value in hidden:
        text = text.replace(value, "***")
    return _URL_QUERY.sub(r"\1?***", text)


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, be it a number or a date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value)
    return max(0.0, seconds) if seconds == seconds and seconds < 10**9 else None  # noqa: PLR0124 (NaN)


def _until(date: str) -> float | None:
    from datetime import UTC, datetime  # noqa: PLC0415 (hardly ever needed)

    try:
        at = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _read(body: bytes, status: int) -> tuple[str, str, dict[str, Any]]:
    """Return code, message and further fields of an answer's body, whatever it is."""
    try:
        value: Any = json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        return _code(status), _plain(body, status), {}
    detail: Any = cast("dict[str, Any]", value).get("detail", cast("object", value)) if isinstance(value, dict) else value
    if isinstance(detail, dict):
        fields = dict(cast("dict[str, Any]", detail))
        code, message = fields.pop("error_code", None), fields.pop("message", None)
        return str(code) if code else _code(status), str(message) if message else f"HTTP {status}", fields
    return _code(status), str(detail)[:_SHOWN] if detail else f"HTTP {status}", {}


def _plain(body: bytes, status: int) -> str:
    """Return what a body that is no JSON says; of an object store's XML the words alone, for it repeats what was signed."""
    text = body[:20_000].decode("utf-8", "replace").strip()
    if "<" in text:
        said = ": ".join(match[2] for match in _XML.finditer(text))
        return f"HTTP {status}: {said}" if said else f"HTTP {status}"
    return f"HTTP {status}: {text[:_SHOWN]}" if text else f"HTTP {status}"


def _code(status: int) -> str:
    known = {401: wire.UNAUTHENTICATED, 403: wire.PERMISSION_DENIED, 404: wire.NOT_FOUND, 422: wire.VALIDATION_ERROR}
    return known.get(status, UNKNOWN)


def _id(fields: dict[str, Any], reply: Reply) -> str | None:
    found = fields.pop("request_id", None) or reply.request_id
    return str(found) if found else None
