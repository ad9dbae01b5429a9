"""Every failure becomes `ApiError.body()`, whatever raised it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sandkit.wire.errors import INTERNAL, INVALID_REQUEST, METHOD_NOT_ALLOWED, NOT_FOUND, RATE_LIMITED, STORAGE_FULL, UNAVAILABLE, ApiError
from sandyard.domain.errors import BackendUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

_log = structlog.get_logger("sandyard.api")
_RETRY = (RATE_LIMITED, UNAVAILABLE)


class ErrorBody(BaseModel):
    """The body of every error (OpenAPI's description of `ApiError.body()`)."""

    code: int
    message: str
    error_code: str
    request_id: str | None = None
    details: dict[str, Any] | None = None


ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


def install(app: FastAPI) -> None:
    """Let `app` answer with our errors only."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(StoreUnavailable, _store)
    app.add_exception_handler(BackendUnavailable, _backend)
    app.add_exception_handler(Exception, _unexpected)


def reply(error: ApiError, request_id: str | None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Render an error; `Should-Retry` tells E2B's clients whether trying again may help.

    They do so within the time-out of the first attempt: who has used that up already says `should_retry: False` in its details.
    """
    error.request_id = error.request_id or request_id
    retry = error.problem in _RETRY and error.details.get("should_retry", True)
    extra = {"Should-Retry": "true" if retry else "false"} | dict(headers or {})
    if "retry_after" in error.details:
        extra["Retry-After"] = str(error.details["retry_after"])
    return JSONResponse(error.body(), error.problem.status, headers=extra)


def _request_id(request: Request) -> str | None:
    return cast("str | None", request.scope.get("request_id"))


async def _api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return reply(error, _request_id(request))


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return reply(ApiError(INVALID_REQUEST, f"The body is not JSON: {first['ctx']['error']}"), _request_id(request))
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return reply(ApiError(INVALID_REQUEST, f"{where}: {first['msg']}", details={"field": where}), _request_id(request))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            problem = ApiError(NOT_FOUND, f"There is nothing at {request.url.path!r}")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            problem = ApiError(METHOD_NOT_ALLOWED, f"{request.method} is not allowed at {request.url.path!r}")
        case status:
            problem = ApiError.from_reply(status, error.detail)
    return reply(problem, _request_id(request), error.headers)


async def _left(request: Request, _: Exception) -> JSONResponse:
    return reply(ApiError(INVALID_REQUEST, "The client left before the end of the body"), _request_id(request))


async def _store(request: Request, error: Exception) -> JSONResponse:
    _log.error("the store failed", request_id=_request_id(request), error=str(error))
    message = "The platform cannot store anything now (its disk may be full); its operator's log says why"
    return reply(ApiError(STORAGE_FULL, message), _request_id(request))


async def _backend(request: Request, error: Exception) -> JSONResponse:
    _log.error("the back end failed", request_id=_request_id(request), error=str(error))
    message = f"The platform cannot act on sandboxes now: {error}"
    return reply(ApiError(UNAVAILABLE, message, details={"retry_after": 5}), _request_id(request))


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    error = ApiError(INTERNAL, "The platform failed; its log has more under this request id")
    return reply(error, _request_id(request))
