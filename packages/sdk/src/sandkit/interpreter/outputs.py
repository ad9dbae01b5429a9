"""From a kernel's messages to the lines that a caller of `/execute` reads. Pure."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

END: Mapping[str, Any] = {"type": "end_of_execution"}
KEEPALIVE: Mapping[str, Any] = {"type": "keepalive"}

_FORMATS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "e2b/data": "data",
    "e2b/chart": "chart",
}
_QUOTES = ("'", '"')


def item(kind: str, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a caller is told of a message, None where it is nothing to him."""
    match kind:
        case "stream":
            return {"type": content["name"], "text": content["text"], "timestamp": time.time_ns()}
        case "execute_input":
            return {"type": "number_of_executions", "execution_count": content["execution_count"]}
        case "execute_result" | "display_data":
            return _result(content["data"], main=kind == "execute_result")
        case "error":
            return error(content["ename"], content["evalue"], "\n".join(content["traceback"]))
        case _:
            return None


def error(name: str, value: str, traceback: str = "") -> Mapping[str, Any]:
    """Return the item of an exception."""
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


def encode(what: Mapping[str, Any]) -> bytes:
    """Return an item as one line. What is no text in UTF-8 (half of a surrogate pair) is escaped."""
    try:
        return orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(what).encode() + b"\n"


def _result(data: Mapping[str, Any], *, main: bool) -> Mapping[str, Any]:
    result: dict[str, Any] = {"type": "result", "is_main_result": main}
    extra: dict[str, Any] = {}
    for kind, value in data.items():
        if kind in _FORMATS:
            result[_FORMATS[kind]] = _unquoted(value) if kind == "text/plain" else value
        else:
            extra[kind] = value
    return result | ({"extra": extra} if extra else {})


def _unquoted(text: Any) -> str:
    """Return a string's own text, which is what E2B's clients show of it, in place of its representation."""
    if not isinstance(text, str):
        return str(text)
    quoted = len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]
    return text[1:-1] if quoted else text
