"""The control plane's calls about templates and their builds."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sandkit import wire
from sandkit.http.messages import EVENTS_TYPE, Call, Reply, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence

    from sandkit.wire.templates import BuildStatus, Deployment, TemplateInfo


def deploy_agent(package: AsyncIterable[bytes], size: int, tags: Sequence[str]) -> Call[Deployment]:
    """Upload a directory packed as gzip tar of `size` bytes; the build goes on by itself."""
    query = "?" + urlencode({"tags": ",".join(tags)}) if tags else ""
    headers = {"content-type": "application/gzip", "content-length": str(size)}
    return Call(
        Request("POST", f"/agents{query}", headers, package), lambda reply: wire.templates.Deployment.model_validate_json(reply.body)
    )


def list_templates() -> Call[list[TemplateInfo]]:
    return Call(Request("GET", "/templates"), lambda reply: [wire.templates.TemplateInfo.model_validate(item) for item in reply.json()])


def get_template(template_id: str) -> Call[TemplateInfo]:
    """Describe one template; `template_id` is an id, a name, or `name:tag`."""
    return Call(Request("GET", _path(template_id)), lambda reply: wire.templates.TemplateInfo.model_validate_json(reply.body))


def delete_template(template_id: str) -> Call[None]:
    return Call(Request("DELETE", _path(template_id)), _nothing)


def build_status(template_id: str, build_id: str, logs_offset: int = 0) -> Call[BuildStatus]:
    """Return the state of a build, with its log lines from number `logs_offset` on."""
    path = f"{_path(template_id)}/builds/{quote(build_id, safe='')}/status?logsOffset={logs_offset}&limit=1000"
    return Call(Request("GET", path), lambda reply: wire.templates.BuildStatus.model_validate_json(reply.body))


def follow_build(template_id: str, build_id: str, offset: int = 0) -> Request:
    """Ask for a build's log from line `offset` on, as server-sent events: `BuildLogEntry` each, at last `event: end` with a
    `BuildStatus`.
    """
    path = f"{_path(template_id)}/builds/{quote(build_id, safe='')}/logs?follow=true&offset={offset}"
    return Request("GET", path, {"accept": EVENTS_TYPE})


def _path(template_id: str) -> str:
    return f"/templates/{quote(template_id, safe='')}"


def _nothing(reply: Reply) -> None:
    del reply
