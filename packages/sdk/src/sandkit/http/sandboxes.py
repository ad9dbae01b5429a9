"""The control plane's calls about sandboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sandkit import wire
from sandkit.http.messages import Call, Reply, Request, json_request

if TYPE_CHECKING:
    from sandkit.wire.sandboxes import CreateSandbox, Sandbox, SandboxDetail, SandboxLogs

NEXT_TOKEN_HEADER = "x-next-token"  # noqa: S105 (a header's name)


def create_sandbox(wanted: CreateSandbox) -> Call[Sandbox]:
    """Start a sandbox. The platform ends it again where the caller leaves before the answer."""
    request = json_request("POST", "/sandboxes", wanted.model_dump(mode="json", by_alias=True, exclude_none=True))
    return Call(request, lambda reply: wire.sandboxes.Sandbox.model_validate_json(reply.body))


def get_sandbox(sandbox_id: str) -> Call[SandboxDetail]:
    """Describe a running or paused sandbox; one that has ended is an ApiError whose details say how."""
    return Call(Request("GET", _path(sandbox_id)), lambda reply: wire.sandboxes.SandboxDetail.model_validate_json(reply.body))


def list_sandboxes(next_token: str | None = None) -> Call[tuple[list[SandboxDetail], str | None]]:
    """List the caller's sandboxes, a page at a time: the page, and the token of the next one or None."""
    query = "?" + urlencode({"nextToken": next_token}) if next_token else ""
    return Call(Request("GET", f"/v2/sandboxes{query}"), _read_page)


def delete_sandbox(sandbox_id: str) -> Call[None]:
    return Call(Request("DELETE", _path(sandbox_id)), _nothing)


def pause_sandbox(sandbox_id: str) -> Call[None]:
    """Pause; a sandbox that is paused already answers 409."""
    return Call(json_request("POST", _path(sandbox_id, "/pause"), {}), _nothing)


def connect_sandbox(sandbox_id: str, timeout: int) -> Call[Sandbox]:
    """Resume if paused; the sandbox then lives at least `timeout` seconds."""
    request = json_request("POST", _path(sandbox_id, "/connect"), {"timeout": timeout})
    return Call(request, lambda reply: wire.sandboxes.Sandbox.model_validate_json(reply.body))


def set_timeout(sandbox_id: str, timeout: int) -> Call[None]:
    """Let the sandbox end `timeout` seconds from now."""
    return Call(json_request("POST", _path(sandbox_id, "/timeout"), {"timeout": timeout}), _nothing)


def sandbox_logs(sandbox_id: str) -> Call[SandboxLogs]:
    """Return the last lines that the agent printed."""
    return Call(Request("GET", _path(sandbox_id, "/logs")), lambda reply: wire.sandboxes.SandboxLogs.model_validate_json(reply.body))


def _path(sandbox_id: str, rest: str = "") -> str:
    return f"/sandboxes/{quote(sandbox_id, safe='')}{rest}"


def _read_page(reply: Reply) -> tuple[list[SandboxDetail], str | None]:
    return [wire.sandboxes.SandboxDetail.model_validate(item) for item in reply.json()], reply.headers.get(NEXT_TOKEN_HEADER) or None


def _nothing(reply: Reply) -> None:
    del reply
