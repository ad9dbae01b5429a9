"""Every failure below the gateway's paths becomes `{"detail": {"error_code", "message", "request_id", …}}`."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sandkit.wire.gateway import (
    BAD_REQUEST,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    QUOTA_EXCEEDED,
    RATE_LIMITED,
    STORAGE_FULL,
    UNAUTHENTICATED,
    UNAVAILABLE,
    VALIDATION_ERROR,
    Refusal,
)
from sandyard.domain.errors import BackendUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

_log = structlog.get_logger("sandyard.gateway")


class Detail(BaseModel):
    """What every error says (OpenAPI's description of `Refusal.body`); further fields depend on the code."""

    model_config = ConfigDict(extra="allow")

    error_code: str
    message: str
    request_id: str


class ErrorBody(BaseModel):
    """The body of every error."""

    detail: Detail


ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


def install(app: FastAPI) -> None:
    """Let `app` answer with the gateway's errors only."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(StoreUnavailable, _store)
    app.add_exception_handler(BackendUnavailable, _backend)
    app.add_exception_handler(Exception, _unexpected)


def reply(refusal: Refusal, request_id: str) -> JSONResponse:
    """Render a refusal as an HTTP answer."""
    headers: dict[str, str] = dict(refusal.details.pop("headers", {}))
    if refusal.code == UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in refusal.details or refusal.code == RATE_LIMITED:
        headers["Retry-After"] = str(max(1, math.ceil(float(refusal.details.get("retry_after", 1)))))
    if refusal.code in {QUOTA_EXCEEDED, RATE_LIMITED} and "limit" in refusal.details:
        headers |= _limits(refusal.details)
    return JSONResponse(refusal.body(request_id), refusal.status, headers=headers)


def _limits(details: Mapping[str, Any]) -> dict[str, str]:
    """Return the header fields of draft-ietf-httpapi-ratelimit-headers: the policy, and what is left of it (nothing)."""
    name = details.get("quota_type", "calls")
    policy = f'"{name}";q={details["limit"]}' + (f";w={details['window']:.0f}" if details.get("window") else "")
    left = f'"{name}";r=0' + (f";t={math.ceil(details['retry_after'])}" if "retry_after" in details else "")
    return {"RateLimit-Policy": policy, "RateLimit": left}


def request_id(request: Request) -> str:
    """Return the id that `RequestIds` gave to the request."""
    return cast("str", request.scope["request_id"])


async def _refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return reply(error, request_id(request))


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = "/".join(str(part) for part in first["loc"])
    return reply(Refusal(VALIDATION_ERROR, f"{where}: {first['msg']}", pointer=f"/{where}"), request_id(request))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            refusal = Refusal(NOT_FOUND, f"There is nothing at {request.url.path[:200]!r}")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            refusal = Refusal(METHOD_NOT_ALLOWED, f"{request.method} is not allowed here", headers=dict(error.headers or {}))
        case _:
            refusal = Refusal(BAD_REQUEST, str(error.detail))
    return reply(refusal, request_id(request))


async def _left(request: Request, _: Exception) -> JSONResponse:
    return reply(Refusal(BAD_REQUEST, "The client left before the end"), request_id(request))


async def _store(request: Request, error: Exception) -> JSONResponse:
    _log.error("the store failed", request_id=request_id(request), error=str(error))
    message = "The platform cannot store anything now (its disk may be full); its operator's log says why"
    return reply(Refusal(STORAGE_FULL, message), request_id(request))


async def _backend(request: Request, error: Exception) -> JSONResponse:
    _log.error("the back end failed", request_id=request_id(request), error=str(error))
    return reply(Refusal(UNAVAILABLE, "The platform cannot start sandboxes now", retry_after=5), request_id(request))


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    return reply(Refusal(INTERNAL, "The platform failed; its log has more under this request id"), request_id(request))
