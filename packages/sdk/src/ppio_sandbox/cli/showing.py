"""`agent list`, `agent info`, `agent sessions`, `agent delete`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient
from ppio_sandbox.cli.calling import target_of
from ppio_sandbox.cli.output import give, give_json, harmless, listening, say
from sandkit.http import templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppio_sandbox.agent_runtime.client import AgentTemplate

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


async def info(template: str | None, *, as_json: bool) -> None:
    """Print what is known of one agent."""
    async with AgentRuntimeClient() as client:
        found = await client.get_template(target_of(template))
    values = found.model_dump(mode="json", exclude_none=True)
    if as_json:
        give_json(values)
        return
    if packages := values.pop("dependencies", None):
        values["dependencies"] = f"{len(packages)} packages, which --json names"
    give(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


async def sessions(close: Sequence[str], *, as_json: bool) -> None:
    """End the sessions `close`, and print those that run or are paused then."""
    async with AgentRuntimeClient() as client:
        for sandbox_id in close:
            await client.close_session(sandbox_id)
            say(f"closed {sandbox_id}")
        found = await client.list_sessions()
    rows = [(one.sandbox_id, one.template_id, one.status.value, f"{one.created_at:%Y-%m-%d %H:%M:%S}") for one in found]
    if as_json:
        names = ("sandbox_id", "template_id", "status", "created_at")
        give_json([dict(zip(names, (*row[:3], one.created_at.isoformat()), strict=True)) for row, one in zip(rows, found, strict=True)])
    elif rows:
        give("\n".join(f"{id_:<26}{template:<26}{status:<10}{created}" for id_, template, status, created in rows))
    else:
        say("no session runs")


async def delete(template: str, *, yes: bool, as_json: bool) -> None:
    """Delete a template; people are asked first."""
    async with AgentRuntimeClient() as client:
        found = await client.get_template(template)
        if not yes and sys.stdin.isatty() and not _is_sure(found.name):
            say("nothing was deleted")
            return
        await client.platform.perform(templates.delete_template(found.template_id))
    if as_json:
        give_json({"deleted": found.template_id, "name": found.name})
    else:
        say(f"deleted {found.name} ({found.template_id})")


def _is_sure(name: str) -> bool:
    with listening():
        return typer.confirm(f"delete {name} with all of its builds?", err=True)


def _table(found: Sequence[AgentTemplate], *, with_description: bool) -> Table:
    """Return one line for each; names and ids are whole, also where the terminal is too narrow for more."""
    table = Table(box=None, pad_edge=False)
    columns = ("name", "template", "version", "status", "updated", "description")[: 6 if with_description else 5]
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis" if column == "description" else "fold")
    for item in found:
        cells = (item.name, item.template_id, item.version, item.status, f"{item.updated_at:%Y-%m-%d %H:%M}", item.description or "")
        table.add_row(*[Text(harmless(cell, sys.stdout)) for cell in cells[: len(columns)]])
    return table
