"""The data plane's requests: one port of one sandbox, through the ingress. Replies are the agent's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from sandkit.http.messages import EVENTS_TYPE, JSON_TYPE, Request
from sandkit.wire.errors import REQUEST_ID_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENT_PORT = 8080

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # what the ingress keeps


def route_headers(sandbox_id: str, access_token: str | None, port: int = AGENT_PORT) -> dict[str, str]:
    """Return the headers by which the ingress finds and admits; `Host` does it too where the name says so."""
    headers = {"ppio-sandbox-id": sandbox_id, "ppio-sandbox-port": str(port)}
    if access_token is not None:
        headers["x-access-token"] = access_token
    return headers


def invoke(body: Mapping[str, object], *, stream: bool) -> Request:
    """Call the agent's function. The body's own `request_id` (seed 001 §5.2) is the request's, where a header can hold it."""
    accept = f"{EVENTS_TYPE}, {JSON_TYPE}" if stream else f"{JSON_TYPE}, {EVENTS_TYPE}"
    headers = {"content-type": JSON_TYPE, "accept": accept}
    wished = body.get("request_id")
    if isinstance(wished, str) and _REQUEST_ID.fullmatch(wished):
        headers[REQUEST_ID_HEADER] = wished
    return Request("POST", "/invocations", headers, orjson.dumps(body))


def ping() -> Request:
    """Ask the agent for its health."""
    return Request("GET", "/ping", {"accept": JSON_TYPE})
