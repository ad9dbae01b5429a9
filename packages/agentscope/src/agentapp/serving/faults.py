"""Failures on their way to callers: whose fault it was, without any secret."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from agentapp.errors import AppError
from ppio_sandbox.agent_runtime.runtime.replies import RequestError as Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("agentapp")

_MODEL_LIBRARIES = ("openai", "anthropic", "httpx", "httpcore", "dashscope", "google", "ollama", "aiohttp")


def refusal(error: BaseException, redacted: Callable[[str], str]) -> Exception:
    """Return `error` as the server tells it: an app's own failure, a model's (429, 502, 504), or what the app's code raised (500)."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, AppError):
        return _refusal(error.status, error.code, redacted(str(error)), error.retry_after)
    found = _of_model(error)
    if found is None:
        logger.error("the app failed: %s", type(error).__name__, exc_info=error)
        kind = type(error).__name__
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, kind, redacted(str(error)) or kind)
    logger.warning("a model failed: %s: %s", type(error).__name__, error)
    status, code, message, retry_after = found
    return _refusal(status, code, redacted(message), retry_after)


def _of_model(error: BaseException) -> tuple[HTTPStatus, str, str, float | None] | None:
    """Read a failure of a model's library; all of them follow httpx' shapes, or nearly."""
    if type(error).__module__.partition(".")[0] not in _MODEL_LIBRARIES:
        return None
    told = getattr(error, "status_code", None)
    if told == HTTPStatus.TOO_MANY_REQUESTS:
        return HTTPStatus.TOO_MANY_REQUESTS, "MODEL_RATE_LIMITED", f"the model's server has had enough: {error}", _retry_after(error)
    if "timeout" in type(error).__name__.lower():
        return HTTPStatus.GATEWAY_TIMEOUT, "MODEL_TIMEOUT", f"the model's server did not answer in time: {error}", None
    what = f"answered {told}" if told else f"failed ({type(error).__name__})"
    return HTTPStatus.BAD_GATEWAY, "MODEL_ERROR", f"the model's server {what}: {error}", None


def _retry_after(error: Any) -> float | None:
    try:
        return float(error.response.headers["retry-after"])
    except (AttributeError, KeyError, ValueError):
        return None


def _refusal(status: HTTPStatus, code: str, message: str, retry_after: float | None = None) -> Refusal:
    headers = None if retry_after is None else [(b"retry-after", b"%d" % max(1, round(retry_after)))]
    return Refusal(status, code, message, headers)
