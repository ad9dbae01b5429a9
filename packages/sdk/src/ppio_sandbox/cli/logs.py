"""`agent logs`: what a session's agent wrote, and how a build went."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, SessionNotFoundError
from ppio_sandbox.cli import builds
from ppio_sandbox.cli.calling import target_of
from ppio_sandbox.cli.output import ExitCode, UsageError, fail, give, give_json, say
from sandkit.http import sandboxes, templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandkit.wire.sandboxes import SandboxLog
    from sandkit.wire.templates import BuildLogEntry

LOOK_SECONDS = 0.5
"""Between two looks at a session that is followed: the platform tells its output when asked, and has no stream of it."""


async def session_log(sandbox_id: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the last lines of a session's agent; with `follow` go on until the session ends."""
    if sandbox_id is None:
        raise UsageError("say which session's log: its id (or --build for the log of a build)")
    async with AgentRuntimeClient() as client:
        seen: Sequence[SandboxLog] = ()
        while True:
            try:
                found = (await client.platform.perform(sandboxes.sandbox_logs(sandbox_id), sandbox_id=sandbox_id)).logs
            except SessionNotFoundError as error:
                if not follow or not seen:
                    raise
                say(f"the session has ended: {error.message}")
                return
            for line in found[_known(seen, found) :]:
                _show(line, as_json=as_json)
            if not follow:
                return
            seen = found
            await asyncio.sleep(LOOK_SECONDS)


async def build_log(template: str | None, *, as_json: bool) -> None:
    """Print the log of a template's newest build, to its end."""
    async with AgentRuntimeClient() as client:
        info = await client.platform.perform(templates.get_template(target_of(template)))
        if info.build_id is None:
            raise UsageError(f"{info.name} has no build yet")

        def show(line: BuildLogEntry) -> None:
            if as_json:
                give_json(line.model_dump(mode="json"))
            else:
                give(line.message)

        status = await builds.follow(client.platform, info.template_id, info.build_id, show)
    if status.status == "error":
        fail(ExitCode.BUILD_FAILED, status.reason.message if status.reason else "the build failed and no reason was told")


def _known(seen: Sequence[SandboxLog], found: Sequence[SandboxLog]) -> int:
    """Return how many of the lines found have been shown: the longest beginning that is an end of those seen before. The platform
    keeps only the last of an output, so the oldest may have gone meanwhile.
    """
    before, now = [line.line for line in seen], [line.line for line in found]
    longest = min(len(before), len(now))
    return next(count for count in range(longest, -1, -1) if before[len(before) - count :] == now[:count])


def _show(line: SandboxLog, *, as_json: bool) -> None:
    if as_json:
        give_json(line.model_dump(mode="json"))
    else:
        give(line.line)
