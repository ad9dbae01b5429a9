"""What can go wrong, and whose fault it is.

AppError                    has a `code` for programs, an HTTP `status`, and sometimes `retry_after` in seconds
├── ConfigError             agentapp.yaml, or what it names: each mistake with its line and column
├── NotInitializedError     `runtime` was asked before it was started
├── RequestError            what the caller sent
├── OverloadedError         every instance of the app is in use
├── ModelError              a model's server answered with what is no answer
├── ToolError               an MCP server refused, failed or went away; the model is told
└── SessionError
    ├── SessionNotFound     a ValueError, as the name says
    ├── SessionConflict     somebody else saved the session since this request has read it
    ├── SessionBusy         another process works on the session
    ├── SessionTooLarge     more state than `session.max_bytes`
    └── StoreError          the session store failed
"""

from __future__ import annotations

from http import HTTPStatus


class AppError(Exception):
    """A failure with a place on the wire."""

    code = "INTERNAL_ERROR"
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after: float | None = None


class ConfigError(AppError):
    """The configuration cannot be used as it is."""

    code = "CONFIGURATION_ERROR"


class NotInitializedError(AppError):
    """The runtime is not initialized."""

    code = "NOT_INITIALIZED"


class RequestError(AppError):
    """What the caller sent cannot be served."""

    code = "INVALID_REQUEST"
    status = HTTPStatus.BAD_REQUEST


class OverloadedError(AppError):
    """Every instance of the app is in use."""

    code = "OVERLOADED"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1.0


class ModelError(AppError):
    """A model's server answered with what is no answer of a model."""

    code = "MODEL_ERROR"
    status = HTTPStatus.BAD_GATEWAY


class ToolError(AppError):
    """A tool's server refused, failed or went away."""

    code = "TOOL_ERROR"
    status = HTTPStatus.BAD_GATEWAY


class SessionError(AppError):
    """The state of a session could not be loaded or saved."""

    code = "SESSION_ERROR"


class SessionNotFound(SessionError, ValueError):  # noqa: N818 (the name is the specification's)
    """There is no such session."""

    code = "SESSION_NOT_FOUND"
    status = HTTPStatus.NOT_FOUND


class SessionConflict(SessionError):  # noqa: N818 (likewise)
    """The session was saved by somebody else since this request has read it."""

    code = "SESSION_CONFLICT"
    status = HTTPStatus.CONFLICT


class SessionBusy(SessionError):  # noqa: N818 (likewise)
    """Another process works on the session."""

    code = "SESSION_BUSY"
    status = HTTPStatus.CONFLICT
    retry_after = 1.0


class SessionTooLarge(SessionError):  # noqa: N818 (likewise)
    """The session's state is larger than `session.max_bytes`."""

    code = "SESSION_TOO_LARGE"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class StoreError(SessionError):
    """The session store could not be reached, or failed."""

    code = "SESSION_STORE_UNAVAILABLE"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1.0
