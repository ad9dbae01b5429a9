"""The data plane's requests: one port of one sandbox, through the ingress. Replies are the agent's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from sandkit.http.messages import EVENTS_TYPE, JSON_TYPE, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENT_PORT = 8080


def route_headers(sandbox_id: str, access_token: str | None, port: int = AGENT_PORT) -> dict[str, str]:
    """Return the headers by which the ingress finds and admits; `Host` does it too where the name says so."""
    headers = {"ppio-sandbox-id": sandbox_id, "ppio-sandbox-port": str(port)}
    if access_token is not None:
        headers["x-access-token"] = access_token
    return headers


def invoke(body: Mapping[str, object], *, stream: bool) -> Request:
    """Call the agent's function."""
    accept = f"{EVENTS_TYPE}, {JSON_TYPE}" if stream else f"{JSON_TYPE}, {EVENTS_TYPE}"
    return Request("POST", "/invocations", {"content-type": JSON_TYPE, "accept": accept}, orjson.dumps(body))


def ping() -> Request:
    """Ask the agent for its health."""
    return Request("GET", "/ping", {"accept": JSON_TYPE})
