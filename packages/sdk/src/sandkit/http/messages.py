"""What is sent and what comes back, without a socket: `Request`, `Reply`, and `Call`, which pairs a request with its reader."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from sandkit.wire.errors import REQUEST_ID_HEADER, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping

    from sandkit.http.proxies import Proxies

T_co = TypeVar("T_co", covariant=True)

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` begins with a slash and is joined to `base_url`, which has none at its end."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Iterable[bytes] | AsyncIterable[bytes] | None = field(default=None, repr=False)
    """In pieces for the sender of its kind; with a content-length header they are sent as they are, without one in chunks."""
    base_url: str = ""

    @property
    def url(self) -> str:
        return self.base_url + self.path

    def to(self, base_url: str, headers: Mapping[str, str]) -> Request:
        """Return the request addressed to `base_url`; `headers` are added, the request's own win."""
        return replace(self, base_url=base_url, headers={**headers, **self.headers})

    @property
    def request_id(self) -> str | None:
        return self.headers.get(REQUEST_ID_HEADER)

    def identified(self) -> Request:
        """Return the request with an id, unless it has one: the other side logs it by that, also where its answer gets lost."""
        if REQUEST_ID_HEADER in self.headers:
            return self
        return replace(self, headers={REQUEST_ID_HEADER: os.urandom(16).hex(), **self.headers})


def json_request(method: str, path: str, value: object) -> Request:
    """Return a request with a JSON body."""
    return Request(method, path, {"content-type": JSON_TYPE}, orjson.dumps(value))


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one sender's pool: connections at once, idle ones that are kept, and seconds that one is kept and that connecting may take."""

    max_connections: int = 100
    max_idle: int = 100
    keepalive_expiry: float = 30.0
    connect_timeout: float = 10.0
    proxies: Proxies | None = None
    """None: the environment's proxy settings are not obeyed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole HTTP reply. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def request_id(self) -> str | None:
        return self.headers.get(REQUEST_ID_HEADER)

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            UnreadableReplyError: it is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise UnreadableReplyError(f"the platform's answer (HTTP {self.status}) is not JSON: {_begin(self.body)}") from error

    def error(self) -> ApiError:
        """Return the failure that this reply of status 400 or more tells of, `retry_after` (seconds) among its details."""
        try:
            body: object = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            body = self.body.decode("utf-8", "replace")
        error = ApiError.from_reply(self.status, body, request_id=self.request_id)
        seconds = retry_after(self.headers)
        if seconds is not None:
            error.details.setdefault("retry_after", seconds)
        return error


class UnreadableReplyError(Exception):
    """The other side answered something that this version cannot read."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request and the pure function that reads its successful reply."""

    request: Request
    read: Callable[[Reply], T_co]


def read_reply(call: Call[T_co], reply: Reply) -> T_co:
    """Return what `reply` says.

    Raises:
        ApiError: the reply is a failure.
        UnreadableReplyError: it has another shape than the contract says.
    """
    if not reply.ok:
        raise reply.error()
    try:
        return call.read(reply)
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableReplyError(f"{call.request.method} {call.request.path} answered in another shape than expected: {error}") from error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; the date form is not used by us and is ignored."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _begin(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return repr(text) if text else "(empty)"
