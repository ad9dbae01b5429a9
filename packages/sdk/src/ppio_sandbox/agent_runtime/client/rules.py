"""What client and session decide without sending anything: the asynchronous and the synchronous ones decide alike."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ppio_sandbox.agent_runtime.client.exceptions import (
    AgentClientError,
    RateLimitError,
    SandboxOperationError,
    SessionNotFoundError,
    TemplateNotFoundError,
)
from ppio_sandbox.agent_runtime.client.models import ClientConfig, SandboxConfig, SessionStatus
from ppio_sandbox.agent_runtime.exceptions import ValidationError
from sandkit.wire import errors as wire
from sandkit.wire.sandboxes import CreateSandbox

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from sandkit.wire.sandboxes import SandboxDetail

DEFAULT_TIMEOUT = 300
DEFAULT_LIFE = 300
LONGEST_LIFE = 86400


def call_timeout(timeout: int, config: ClientConfig | None) -> int:
    """Return the seconds of one call: the argument, unless only the configuration says something."""
    return config.timeout if config is not None and timeout == DEFAULT_TIMEOUT else timeout


def wanted_sandbox(template_id: str, timeout_seconds: int, config: SandboxConfig | None) -> CreateSandbox:
    """Return what to ask the platform for.

    Raises:
        ValidationError: it asks for what cannot be had.
    """
    life = timeout_seconds
    if config is not None and life == DEFAULT_LIFE and "timeout_seconds" in config.model_fields_set:
        life = config.timeout_seconds
    if not 1 <= life <= LONGEST_LIFE:
        raise ValidationError(f"a session lives from 1 to {LONGEST_LIFE} seconds, not {life}", "bad_request")
    return CreateSandbox(templateID=template_id, timeout=life, env_vars=_honoured(config).env_vars)


def _honoured(config: SandboxConfig | None) -> SandboxConfig:
    config = config or SandboxConfig()
    if config.volumes:
        raise ValidationError("volumes are not available on this platform yet", "not_implemented")
    if config.memory_limit is not None or config.cpu_limit is not None:
        raise ValidationError("limits belong to the template: set spec.runtime in agent.yaml and deploy it again", "not_implemented")
    return config


def retry_delay(error: AgentClientError, attempt: int, config: ClientConfig) -> float | None:
    """Return the seconds to wait before a refused creation is tried again, or None where that is no refusal or the last one.

    Refusals are 429, and 503 with `Retry-After`: nothing has happened then.
    """
    if attempt >= config.max_retries:
        return None
    told = error.details.get("retry_after")
    if not isinstance(told, (int, float)):
        told = config.retry_delay * 2**attempt if isinstance(error, RateLimitError) else None
    return None if told is None else told * random.uniform(1.0, 1.25)  # noqa: S311 (spreads a herd, hides nothing)


def call_seconds(body: Mapping[str, Any], timeout: float | None, default: float) -> float:
    """Return the seconds of one call: the argument, else what the request says, else the client's."""
    told = body.get("timeout")
    return timeout or (told if isinstance(told, (int, float)) and told > 0 else default)


def life_of(detail: SandboxDetail) -> int:
    """Return the seconds that a sandbox was given, which `refresh` gives it again."""
    return max(1, min(round((detail.end_at - detail.started_at).total_seconds()), LONGEST_LIFE))


def status_of(detail: SandboxDetail) -> SessionStatus:
    """Return the state of a session that has not ended."""
    return SessionStatus.PAUSED if detail.state == "paused" else SessionStatus.ACTIVE


def status_told_by(error: AgentClientError, before: SessionStatus) -> SessionStatus:
    """Return what a failure says of the session's state; `before` where it says nothing."""
    if isinstance(error, SessionNotFoundError):
        return SessionStatus.ERROR if error.details.get("state") == "failed" else SessionStatus.CLOSED
    if error.error_code == wire.AGENT_CRASHED.slug:
        return SessionStatus.ERROR
    return SessionStatus.PAUSED if error.error_code == wire.SANDBOX_PAUSED.slug else before


def check_open(status: SessionStatus, sandbox_id: str) -> None:
    """Refuse a call to a session that is known to be closed.

    Raises:
        SessionNotFoundError: it is.
    """
    if status is SessionStatus.CLOSED:
        raise SessionNotFoundError(f"Session {sandbox_id} is not active: it has ended", wire.SANDBOX_GONE.slug, sandbox_id=sandbox_id)


def one_id(sandbox_id: str | None, session_id: str | None) -> str:
    """Return the id that was given, by either name.

    Raises:
        ValidationError: neither is.
    """
    found = sandbox_id or session_id
    if not found:
        raise ValidationError("a sandbox_id (or session_id, which is the same) is needed", "bad_request")
    return found


def no_session(sandbox_id: str) -> SessionNotFoundError:
    """Return the error for a session that was named and is not there."""
    return SessionNotFoundError(f"there is no session {sandbox_id}", "sandbox_not_found", sandbox_id=sandbox_id)


def no_session_to_call() -> ValidationError:
    """Return the error for a call that names no session and may not make one."""
    return ValidationError("Either sandbox_id or create_session=True must be provided", "bad_request")


@contextmanager
def about_template(template_id: str) -> Generator[None]:
    """Name the template where it was not found."""
    try:
        yield
    except TemplateNotFoundError as error:
        error.message = f"Template {template_id} not found: {error.message}"
        raise


@contextmanager
def operating(verb: str, sandbox_id: str) -> Generator[None]:
    """Name the operation that failed; what a caller's own sandbox object raises becomes a `SandboxOperationError`."""
    try:
        yield
    except SandboxOperationError as error:
        error.message = f"Failed to {verb} sandbox: {error.message}"
        raise
    except AgentClientError:
        raise
    except Exception as error:
        raise SandboxOperationError(f"Failed to {verb} sandbox: {error}", sandbox_id=sandbox_id) from error
