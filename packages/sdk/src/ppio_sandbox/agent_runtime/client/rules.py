"""What client and session decide without sending anything: the asynchronous and the synchronous ones decide alike."""

from __future__ import annotations

import math
import random
import time
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
from sandkit import wire
from sandkit.http.errors import CutShortError
from sandkit.wire import errors

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from sandkit.http.messages import Request
    from sandkit.wire.sandboxes import CreateSandbox, SandboxDetail
    from sandkit.wire.volumes import MountedVolume

DEFAULT_TIMEOUT = 300
DEFAULT_LIFE = 300
LONGEST_LIFE = 86400
LONGEST_NAME = 256


def call_timeout(timeout: int, config: ClientConfig | None) -> int:
    """Return the seconds of one call: the argument, unless only the configuration says something.

    Raises:
        ValidationError: it is no time.
    """
    return config.timeout if config is not None and timeout == DEFAULT_TIMEOUT else _positive(timeout)


def wanted_sandbox(template_id: str, timeout_seconds: int, config: SandboxConfig | None) -> CreateSandbox:
    """Return what to ask the platform for.

    Raises:
        ValidationError: it asks for what cannot be had.
    """
    life = timeout_seconds
    if config is not None and life == DEFAULT_LIFE and "timeout_seconds" in config.model_fields_set:
        life = config.timeout_seconds
    if not isinstance(life, int) or not 1 <= life <= LONGEST_LIFE:  # pyright: ignore[reportUnnecessaryIsInstance] (callers without types)
        raise ValidationError(f"a session lives from 1 to {LONGEST_LIFE} seconds, not {life!r}", "bad_request")
    if not isinstance(template_id, str) or not 0 < len(template_id) <= LONGEST_NAME:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"a template is named by its id, its name or name:tag, not by {template_id!r:.80}", "bad_request")
    config = config or SandboxConfig()
    memory_mb, cpu_count = _limits(config)
    return wire.sandboxes.CreateSandbox(
        templateID=template_id,
        timeout=life,
        env_vars=config.env_vars,
        volume_mounts=_mounts(config.volumes),
        memoryMB=memory_mb,
        cpu_count=cpu_count,
    )


def _limits(config: SandboxConfig) -> tuple[int | None, float | None]:
    """Return the limits that are asked for, as the platform wants them: MiB and cores."""
    if config.memory_limit is None and config.cpu_limit is None:
        return None, None
    try:
        spec = wire.manifest.RuntimeSpec(memory_limit=config.memory_limit, cpu_limit=config.cpu_limit)
        memory = None if spec.memory_bytes is None else math.ceil(spec.memory_bytes / 2**20)
        limits = wire.sandboxes.CreateSandbox(templateID="-", memoryMB=memory, cpu_count=spec.cpus, env_vars=None)
    except ValueError:
        message = f"a session has no limits such as memory {config.memory_limit!r:.40} and cpu {config.cpu_limit!r:.40}; "
        raise ValidationError(message + "write them as 512Mi (16Mi at least) and 500m", "bad_request") from None
    return limits.memory_mb, limits.cpu_count


def _mounts(volumes: Sequence[Mapping[str, str]]) -> list[MountedVolume] | None:
    for volume in volumes:
        if set(volume) != {"name", "path"} or not volume["name"] or not volume["path"].startswith("/"):
            raise ValidationError('one of volumes is not {"name": <a volume\'s name>, "path": "/where/it/is/mounted"}', "bad_request")
    return [wire.volumes.MountedVolume(name=volume["name"], path=volume["path"]) for volume in volumes] or None


class Tries:
    """Whether and when one call to the platform is made again, all of them within `seconds`.

    Only where nothing can have happened twice: after a refusal (429, or 503 with `Retry-After`), and where a call that only reads lost
    its answer. Where nobody listens, that is told at once.
    """

    def __init__(self, request: Request, config: ClientConfig, seconds: float) -> None:
        self._request = request
        self._config = config
        self._ends_at = time.monotonic() + seconds
        self._made = 0

    def seconds_left(self) -> float:
        """Return what the next try may take."""
        return max(self._ends_at - time.monotonic(), 0.001)

    def delay_after(self, error: AgentClientError) -> float | None:
        """Return the seconds to wait before the call is made again, or None: `error` is the end of it."""
        delay = self._told_delay(error)
        if delay is None or self._made >= self._config.max_retries or time.monotonic() + delay > self._ends_at:
            return None
        self._made += 1
        return delay * random.uniform(1.0, 1.25)  # noqa: S311 (spreads a herd, hides nothing)

    def _told_delay(self, error: AgentClientError) -> float | None:
        if not isinstance(self._request.body, bytes | None):
            return None  # what was uploaded in pieces is gone
        told = error.details.get("retry_after")
        if isinstance(told, (int, float)):
            return told
        lost = isinstance(error.__cause__, CutShortError) and self._request.method == "GET"
        return self._config.retry_delay * 2**self._made if lost or isinstance(error, RateLimitError) else None


def call_seconds(body: Mapping[str, Any], timeout: float | None, default: float) -> float:
    """Return the seconds of one call: the argument, else what the request says, else the client's.

    Raises:
        ValidationError: the argument is no time.
    """
    if timeout is not None:
        return _positive(timeout)
    told = body.get("timeout")
    return told if isinstance(told, (int, float)) and told > 0 else default


def _positive(seconds: Any) -> Any:
    if not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ValidationError(f"a time-out is a number of seconds above 0, not {seconds!r}", "bad_request")
    return seconds


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
    if error.error_code == errors.AGENT_CRASHED.slug:
        return SessionStatus.ERROR
    return SessionStatus.PAUSED if error.error_code == errors.SANDBOX_PAUSED.slug else before


def check_open(status: SessionStatus, sandbox_id: str) -> None:
    """Refuse a call to a session that is known to be closed.

    Raises:
        SessionNotFoundError: it is.
    """
    if status is SessionStatus.CLOSED:
        raise SessionNotFoundError(f"Session {sandbox_id} is not active: it has ended", errors.SANDBOX_GONE.slug, sandbox_id=sandbox_id)


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
