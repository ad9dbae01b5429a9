"""The commands and their options. None of them but `run` loads AgentScope."""

# ruff: noqa: PLC0415 (that is the point: `--help` and wrong usage answer at once)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

cli = typer.Typer(name="agentscope", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Project = Annotated[Path, typer.Argument(help="The app's directory, with agentapp.yaml in it.")]
LEVELS = ("debug", "info", "warning", "error")


@cli.callback()
def about() -> None:
    """Serve AgentScope apps: a class and a YAML file.

    Exit codes: 0 done, 1 the app failed, 2 wrong usage or a mistake in agentapp.yaml, 3 the app did not start.
    """


@cli.command()
def run(  # noqa: PLR0917 (typer passes by name)
    project: Project = Path(),
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Where to listen; 0 lets the system choose. Default: 8080.")] = None,
    host: Annotated[str | None, typer.Option(help="Where to listen. Default: 127.0.0.1.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    platform: Annotated[
        bool, typer.Option("--platform/--no-platform", help="Send heartbeats, where agentapp.yaml names a platform.")
    ] = True,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="Start again when a file changes.")] = False,
) -> None:
    """Serve the app until Ctrl-C."""
    if log_level.lower() not in LEVELS:
        raise typer.BadParameter(f"it is one of {', '.join(LEVELS)}", param_hint="--log-level")
    if reload:
        from agentapp.cli.reloading import run_again

        raise typer.Exit(run_again(project))
    from agentapp.service import serve

    raise typer.Exit(serve(project, host=host, port=port, log_level=log_level.lower(), platform=platform))


@cli.command()
def check(project: Project = Path()) -> None:
    """Tell every mistake in agentapp.yaml with its line and column, and whether the app's class is there; runs none of its code."""
    from agentapp.cli.checking import check as work

    raise typer.Exit(work(project))


@cli.command()
def init(
    project: Project = Path(),
    name: Annotated[str | None, typer.Option(help="The agent's name on the platform. Default: the directory's name.")] = None,
) -> None:
    """Write what is missing of an app: agentapp.yaml, app.py, requirements.txt, and agent.yaml with agent.py for the platform."""
    from agentapp.cli.scaffolding import init as work

    raise typer.Exit(work(project, name))
