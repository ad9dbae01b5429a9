"""Callers that speak the AgentCore container contract: they name their session in a header, and get values instead of envelopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from ppio_sandbox.agent_runtime.runtime.replies import Reply, fault, json_reply
from sandkit.serving.values import to_json
from sandkit.wire import sse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppio_sandbox.agent_runtime.runtime.health import Health

_PREFIX = "x-amzn-bedrock-agentcore-runtime-"
SESSION = f"{_PREFIX}session-id"
SESSION_HEADER = SESSION.encode()
REQUEST_HEADER = f"{_PREFIX}request-id".encode()
ACTION = "_agent_core_app_action"

_IDENTITY = "x-amz-bedrock-agentcore-identity-wat"
_DETAILED = {"invalid_json": "Invalid JSON", "invalid_encoding": "Invalid encoding"}

_RESTRICTED = frozenset(
    """
    proxy-authorization www-authenticate accept accept-charset accept-encoding accept-language content-type content-length
    content-encoding content-language content-location content-range cache-control etag expires if-match if-modified-since
    if-none-match if-range if-unmodified-since last-modified pragma vary connection keep-alive proxy-connection upgrade host
    user-agent referer from range accept-ranges transfer-encoding te trailer server date location retry-after set-cookie cookie
    content-security-policy content-security-policy-report-only strict-transport-security x-content-type-options x-frame-options
    x-xss-protection referrer-policy permissions-policy cross-origin-embedder-policy cross-origin-opener-policy
    cross-origin-resource-policy access-control-allow-origin access-control-allow-methods access-control-allow-headers
    access-control-allow-credentials access-control-expose-headers access-control-max-age access-control-request-method
    access-control-request-headers origin accept-ch accept-ch-lifetime dpr width viewport-width downlink ect rtt save-data
    clear-site-data feature-policy expect-ct public-key-pins public-key-pins-report-only via forwarded x-forwarded-for
    x-forwarded-host x-forwarded-proto x-real-ip x-requested-with x-csrf-token true-client-ip x-client-ip x-cluster-client-ip
    x-originating-ip x-source-ip x-original-url x-original-host x-rewrite-url cf-ray cf-connecting-ip x-amz-cf-id x-cache
    x-served-by link sec-websocket-key sec-websocket-accept sec-websocket-version sec-websocket-protocol sec-websocket-extensions
    """.split()  # noqa: SIM905 (as a list they take ninety lines)
)
"""Headers of the transport, which the contract keeps from agents."""


class Dialect:
    """How answers look to these callers: the value itself, and errors as `{"error": …}`."""

    @staticmethod
    def success(result: Any, _seconds: float, request_id: str) -> Reply:
        """Return what the agent returned."""
        return json_reply(200, to_json(result), request_id)

    @staticmethod
    def failure(error: BaseException, _seconds: float, request_id: str) -> Reply:
        """Return what went wrong."""
        found = fault(error)
        body = {"error": found.message if found.detail is None else found.detail}
        if getattr(error, "error_code", None) == "no_entrypoint":
            body = {"error": "No entrypoint defined"}
        elif found.slug in _DETAILED:
            body = {"error": _DETAILED[found.slug], "details": found.message}
        return json_reply(found.status, to_json(body), request_id, found.headers)

    @staticmethod
    def failure_event(error: BaseException, _request_id: str) -> bytes:
        """Return the last event of a stream whose agent has raised; in this contract it is data like any other."""
        found = fault(error)
        fields = {"error": found.message, "error_type": found.slug, "message": "An error occurred during streaming"}
        return sse.encode(orjson.dumps(fields))


DIALECT = Dialect()


def context_fields(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what the contract tells an agent of a request with these (lower-case) `headers`."""
    return {
        "runtime_session_id": headers[SESSION],
        "request_headers": _forwarded(headers) or None,
        "workload_access_token": headers.get(_IDENTITY) or headers.get("workloadaccesstoken"),
        "oauth2_callback_url": headers.get("oauth2callbackurl"),
    }


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    shown = {name: value for name, value in headers.items() if _is_forwarded(name)}
    if "authorization" in shown:
        shown["Authorization"] = shown.pop("authorization")
    return shown


def _is_forwarded(name: str) -> bool:
    if name.startswith(("x-amz-", "x-amzn-")):
        return name == _IDENTITY or name.startswith(f"{_PREFIX}custom-")
    return name not in _RESTRICTED


async def act(action: str, health: Health, request_id: str) -> Reply:
    """Do a debug action: look at the agent's health and background work, or force its status."""
    status = 200
    match action:
        case "ping_status":
            report = await health.report()
            body = {name: report[name] for name in ("status", "time_of_last_update")}
        case "job_status":
            body = health.tasks.info()
        case "force_healthy" | "force_busy":
            body = {"forced_status": health.force("Healthy" if action == "force_healthy" else "HealthyBusy").value}
        case "clear_forced_status":
            health.force(None)
            body = {"forced_status": "Cleared"}
        case _:
            status, body = 400, {"error": f"Unknown action: {action}"}
    return json_reply(status, orjson.dumps(body), request_id)
