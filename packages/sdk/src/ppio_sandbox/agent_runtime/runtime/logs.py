"""Log lines as JSON, with the ids of the request at hand (the AgentCore container contract's form)."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from ppio_sandbox.agent_runtime.runtime.context import AgentRuntimeContext

logger = logging.getLogger("ppio_sandbox.agent_runtime")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: timestamp, level, message, logger, requestId, sessionId, and what is known of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as one line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "timestamp": when.removesuffix("+00:00") + "Z",
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        context = AgentRuntimeContext.get_current_context()
        if context is not None:
            ids = {"requestId": context.request_id, "sessionId": context.session_id}
            entry |= {name: value for name, value in ids.items() if value}
        kind, error, _ = record.exc_info or (None, None, None)
        if kind is not None:
            entry["errorType"] = kind.__name__
            entry["errorMessage"] = str(error)
            entry["stackTrace"] = traceback.format_exception(error)
            entry["location"] = _location(error) or f"{record.pathname}:{record.funcName}:{record.lineno}"
        return orjson.dumps(entry, str).decode()


def _location(error: BaseException | None) -> str | None:
    """Return the place that has raised `error`."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return f"{frames[-1].filename}:{frames[-1].name}:{frames[-1].lineno}" if frames else None


def configure(debug: bool) -> None:
    """Write the server's own log lines to standard error, unless the agent has configured logging: as JSON, or as text on a terminal."""
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s") if sys.stderr.isatty() else JsonFormatter())
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
