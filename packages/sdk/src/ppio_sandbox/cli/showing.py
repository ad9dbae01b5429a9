"""`agent list`, `agent logs`, `agent delete`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient
from ppio_sandbox.cli import builds
from ppio_sandbox.cli.calling import target_of
from ppio_sandbox.cli.output import ExitCode, UsageError, fail, give, give_json, say
from sandkit.http import sandboxes, templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppio_sandbox.agent_runtime.client import AgentTemplate
    from sandkit.wire.templates import BuildLogEntry

WIDE_COLUMNS = 100
PIPE_COLUMNS = 1000
"""A pipe has no width: nothing is cut off for it."""


async def list_agents(tags: list[str] | None, name: str | None, *, as_json: bool) -> None:
    """Print the deployed agents, newest first."""
    async with AgentRuntimeClient() as client:
        found = sorted(await client.list_templates(tags, name), key=lambda template: template.updated_at, reverse=True)
    if as_json:
        give_json([template.model_dump(mode="json", exclude_none=True) for template in found])
    elif found:
        console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_COLUMNS)
        console.print(_table(found, with_description=console.width >= WIDE_COLUMNS))
    else:
        say("there are no agents yet: ppio-sandbox-cli agent init, then deploy")


async def session_log(sandbox_id: str | None, *, as_json: bool) -> None:
    """Print the last lines of a session's agent."""
    if sandbox_id is None:
        raise UsageError("say which session's log: its id (or --build for the log of a build)")
    async with AgentRuntimeClient() as client:
        found = await client.platform.perform(sandboxes.sandbox_logs(sandbox_id), sandbox_id=sandbox_id)
    for line in found.logs:
        if as_json:
            give_json(line.model_dump(mode="json"))
        else:
            give(line.line)


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


async def delete(template: str, *, yes: bool, as_json: bool) -> None:
    """Delete a template; people are asked first."""
    async with AgentRuntimeClient() as client:
        found = await client.get_template(template)
        if not yes and sys.stdin.isatty() and not typer.confirm(f"delete {found.name} with all of its builds?", err=True):
            say("nothing was deleted")
            return
        await client.platform.perform(templates.delete_template(found.template_id))
    if as_json:
        give_json({"deleted": found.template_id, "name": found.name})
    else:
        say(f"deleted {found.name} ({found.template_id})")


def _table(found: Sequence[AgentTemplate], *, with_description: bool) -> Table:
    """Return one line for each; names and ids are whole, also where the terminal is too narrow for more."""
    table = Table(box=None, pad_edge=False)
    columns = ("name", "template", "version", "status", "updated", "description")[: 6 if with_description else 5]
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis" if column == "description" else "fold")
    for item in found:
        cells = (item.name, item.template_id, item.version, item.status, f"{item.updated_at:%Y-%m-%d %H:%M}", item.description or "")
        table.add_row(*[Text(cell) for cell in cells[: len(columns)]])
    return table
