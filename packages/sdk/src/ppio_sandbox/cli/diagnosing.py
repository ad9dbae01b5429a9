"""`agent doctor`: what a command needs, looked at one after another."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, NetworkError
from ppio_sandbox.agent_runtime.exceptions import PPIOAgentRuntimeError
from ppio_sandbox.cli import manifest_file
from ppio_sandbox.cli.output import ExitCode, UsageError, fail, give, give_json
from sandkit.http.messages import Request
from sandkit.wire.manifest import MANIFEST_NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, whether it is as it should be, and a sentence."""

    what: str
    ok: bool
    told: str


async def diagnose(*, as_json: bool) -> None:
    """Print what was found; ends with `ExitCode.FAILED` where something is wrong."""
    findings = [finding async for finding in _findings()]
    if as_json:
        give_json([asdict(finding) for finding in findings])
    else:
        give("\n".join(f"{'ok   ' if finding.ok else 'wrong'} {finding.what}: {finding.told}" for finding in findings))
    wrong = [finding.what for finding in findings if not finding.ok]
    if wrong:
        fail(ExitCode.FAILED, f"not as it should be: {', '.join(wrong)}")


async def _findings() -> AsyncIterator[Finding]:
    yield Finding("python", ok=True, told=platform.python_version())
    for finding in _manifest():
        yield finding
    try:
        client = AgentRuntimeClient()
    except PPIOAgentRuntimeError as error:
        yield Finding("configuration", ok=False, told=str(error))
        return
    async with client:
        yield await _platform(client)
        yield await _ingress(client)


def _manifest() -> list[Finding]:
    """Return what there is to say of the manifest here; where there is none, nothing is wrong."""
    if not any(Path(name).is_file() for name in MANIFEST_NAMES):
        return []
    try:
        file = manifest_file.load(manifest_file.find(Path()))
    except UsageError as error:
        return [Finding("manifest", ok=False, told=str(error))]
    return [Finding("manifest", ok=True, told=f"{file.path}: {file.manifest.metadata.name} {file.manifest.metadata.version}")]


async def _platform(client: AgentRuntimeClient) -> Finding:
    try:
        found = await client.list_templates()
    except PPIOAgentRuntimeError as error:
        return Finding("platform", ok=False, told=f"{client.base_url}: {error}")
    return Finding("platform", ok=True, told=f"{client.base_url} knows the API key; templates: {len(found)}")


async def _ingress(client: AgentRuntimeClient) -> Finding:
    """Whatever it answers to a request that names no sandbox: it is there."""
    url = client.platform.addresses.ingress
    request = Request("GET", "/", base_url=url)
    try:
        await client.platform.ask(request, sandbox_id="", otherwise=NetworkError, seconds=ANSWER_SECONDS)
    except PPIOAgentRuntimeError as error:
        return Finding("ingress", ok=False, told=str(error))
    return Finding("ingress", ok=True, told=f"{url} answers")
