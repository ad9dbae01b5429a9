"""From what happened to the exception that says so: the one place where errors of the wire become errors of this face."""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import orjson

from ppio_sandbox.agent_runtime.client.exceptions import (
    AgentClientError,
    AuthenticationError,
    InvocationError,
    NetworkError,
    QuotaExceededError,
    RateLimitError,
    SessionNotFoundError,
    TemplateNotFoundError,
)
from sandkit.http.errors import TimedOutError, TransportError
from sandkit.http.messages import UnreadableReplyError
from sandkit.wire import errors as wire
from sandkit.wire.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from sandkit.http.messages import Reply, Request

_BY_SLUG: dict[str, type[AgentClientError]] = {
    wire.UNAUTHENTICATED.slug: AuthenticationError,
    wire.FORBIDDEN.slug: AuthenticationError,
    wire.TEMPLATE_NOT_FOUND.slug: TemplateNotFoundError,
    wire.SANDBOX_NOT_FOUND.slug: SessionNotFoundError,
    wire.SANDBOX_GONE.slug: SessionNotFoundError,
    wire.RATE_LIMITED.slug: RateLimitError,
    "quota_exceeded": QuotaExceededError,
}


_GONE = "The sandbox was not found: "
"""What the ingress says before the reason; of a sandbox that was there a moment ago the reason alone is told."""


def from_platform(error: ApiError, otherwise: type[AgentClientError], sandbox_id: str | None = None) -> AgentClientError:
    """Return the exception for a failure that the platform or the agent answered; `otherwise` is the class of the verb."""
    kind = _BY_SLUG.get(error.problem.slug, otherwise)
    return kind(error.message, error.problem.slug, request_id=error.request_id, sandbox_id=sandbox_id, details=error.details)


def from_agent(reply: Reply, sandbox_id: str) -> AgentClientError:
    """Return the exception for a failure that came from a sandbox's port: the ingress' where it speaks of this very request,
    else the agent's own, whatever its status is.
    """
    body = decoded(reply.body)
    error = reply.error()
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {"error": error.message}
    if _is_of_the_ingress(fields, reply, sandbox_id):
        return from_platform(error, InvocationError, sandbox_id)
    kind = RateLimitError if reply.status == HTTPStatus.TOO_MANY_REQUESTS else InvocationError
    return from_agent_value(fields, {"status": reply.status, **error.details}, sandbox_id, reply.request_id, kind)


def _is_of_the_ingress(fields: Mapping[str, Any], reply: Reply, sandbox_id: str) -> bool:
    """Whether an error is the ingress' own. An agent that passes on what a platform told *it* speaks of another request: that says
    nothing of this session.
    """
    is_known = str(fields.get("error_code")) in wire.PROBLEMS
    return is_known and fields.get("request_id") == reply.request_id and fields.get("sandboxId", sandbox_id) == sandbox_id


def from_agent_value(
    value: Mapping[str, Any],
    details: Mapping[str, Any],
    sandbox_id: str,
    request_id: str | None,
    kind: type[AgentClientError] = InvocationError,
) -> AgentClientError:
    """Return the exception for an error that the agent told in JSON: `{"error", "error_type", …}`. A code of the platform's is not
    taken from an agent.
    """
    message = value.get("error") or value.get("message") or value.get("detail") or "the agent failed and did not say why"
    told = {key: value[key] for key in ("error_type", "exit_code", "output") if value.get(key) is not None}
    metadata = value.get("metadata")
    told_id = value.get("request_id") or (cast("dict[str, Any]", metadata).get("request_id") if isinstance(metadata, dict) else None)
    code = str(value.get("error_code") or wire.AGENT_FAILED.slug)
    return kind(
        f"{_class_of(value, str(message))}{message}",
        wire.AGENT_FAILED.slug if code in wire.PROBLEMS else code,
        request_id=request_id or (str(told_id) if told_id else None),
        sandbox_id=sandbox_id,
        details={**details, **told},
    )


def _class_of(value: Mapping[str, Any], message: str) -> str:
    """Return the class of the agent's exception: `KeyError` says more than the key alone. Words of ours say what the message says."""
    kind = value.get("error_type")
    return f"{kind}: " if isinstance(kind, str) and kind[:1].isupper() and kind not in message else ""


def decoded(body: bytes) -> object:
    """Return the JSON value, or None where there is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def from_transport(error: TransportError, otherwise: type[AgentClientError], sandbox_id: str | None = None) -> AgentClientError:
    """Return the exception for a reply that did not arrive; one that came too late is the verb's own failure."""
    if isinstance(error, TimedOutError):
        return otherwise(str(error), "timeout", sandbox_id=sandbox_id)
    return NetworkError(str(error), "network", sandbox_id=sandbox_id)


def from_nonsense(error: UnreadableReplyError, sandbox_id: str | None = None) -> AgentClientError:
    """Return the exception for a reply that cannot be read."""
    return AgentClientError(str(error), "unreadable_reply", sandbox_id=sandbox_id)


@contextmanager
def told(otherwise: type[AgentClientError], sandbox_id: str | None, request: Request) -> Generator[None]:
    """Turn what the wire raises into what this face raises; `otherwise` is the class of the verb. Each failure names the request:
    the platform knows it by that id also where no answer came.
    """
    try:
        yield
    except ApiError as error:
        raise _named(from_platform(error, otherwise, sandbox_id), request) from error
    except TransportError as error:
        raise _named(from_transport(error, otherwise, sandbox_id), request) from error
    except UnreadableReplyError as error:
        raise _named(from_nonsense(error, sandbox_id), request) from error
    except AgentClientError as error:
        _named(error, request)
        raise


def _named(error: AgentClientError, request: Request) -> AgentClientError:
    error.request_id = error.request_id or request.request_id
    return error


def explain(error: AgentClientError, cause: AgentClientError) -> None:
    """Tell in `error` how the sandbox ended, where `cause` knows it."""
    if cause.details.get("state") is not None:
        error.details.update(cause.details)
        error.message = f"{error.message}: {cause.message.removeprefix(_GONE)}"


def closed_client() -> AgentClientError:
    """Return the error for a client that is used after its end."""
    return AgentClientError("this client is closed: make another one, or close it later", "client_closed")
