"""`sandyard prefab secrets`: set, name, forget; and rotate the master keys under which they lie."""

# ruff: noqa: PLC0415 (each command imports what it needs when it runs)

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from sandyard.commands.server import Server, default_data_dir, fail

app = typer.Typer(no_args_is_help=True, help="Secrets that prefabs are given in your calls.")

DataDirOption = Annotated[
    Path | None, typer.Option(help="The server's data directory; without it PPIO_API_URL and PPIO_API_KEY, then the default one.")
]
Prefab = Annotated[str, typer.Argument(help="The prefab's id.")]
Name = Annotated[str, typer.Argument(help="The secret's name, as the prefab's manifest has it.")]


@app.command("set")
def set_(prefab: Prefab, name: Name, data_dir: DataDirOption = None) -> None:
    """Set a secret; its value is read from standard input (a terminal asks for it), never from an argument."""
    value = typer.prompt("Value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    Server.find(data_dir).ask("PUT", _path(prefab, name), json.dumps({"value": value}).encode())
    typer.echo(f"{name} is set for {prefab}")


@app.command("list")
def list_(prefab: Annotated[str | None, typer.Argument(help="Only this prefab's.")] = None, data_dir: DataDirOption = None) -> None:
    """List names; values are never shown."""
    path = "/v1/secrets" if prefab is None else f"/v1/prefabs/{quote(prefab, safe='')}/secrets"
    for item in Server.find(data_dir).ask("GET", path):
        typer.echo(f"{item['prefab_id']}  {item['name']}  {item['updated_at']}")


@app.command()
def forget(prefab: Prefab, name: Name, data_dir: DataDirOption = None) -> None:
    """Forget a secret."""
    Server.find(data_dir).ask("DELETE", _path(prefab, name))
    typer.echo(f"{name} is forgotten for {prefab}")


@app.command()
def rotate(
    data_dir: Annotated[Path | None, typer.Option(help="The server's data directory; it may be running.")] = None,
    command: Annotated[str | None, typer.Option(help="What serve was given as --secrets-command: only the values are renewed.")] = None,
) -> None:
    """Make a new master key and put every secret under it. Old keys stay in the file: remove their lines when backups are gone."""
    import shlex

    import anyio

    from sandyard.app.offline import renew_secrets
    from sandyard.domain.errors import StoreError
    from sandyard.services.envelopes import NoMasterKey

    path = (data_dir or Path(os.environ.get("SANDYARD_DATA_DIR") or default_data_dir())).expanduser().absolute()
    if not (path / "sandyard.db").exists():
        fail(f"{path} is no data directory")
    try:
        changed, broken = anyio.run(renew_secrets, path, tuple(shlex.split(command or "")))
    except (StoreError, NoMasterKey) as error:
        fail(str(error))
    typer.echo(f"{changed} secret(s) lie under the newest master key")
    if broken:
        fail(f"{broken} secret(s) do not open under any master key that is there")


def _path(prefab: str, name: str) -> str:
    return f"/v1/prefabs/{quote(prefab, safe='')}/secrets/{quote(name, safe='')}"
