"""The commands and their options; what they do stands in the module of each, imported when it is called."""

# ruff: noqa: PLC0415 (that is the point: `--help` and wrong usage answer at once)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppio_sandbox.cli.output import perform

cli = typer.Typer(name="ppio-sandbox-cli", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
agent = typer.Typer(no_args_is_help=True, help="Agents: from a directory to an isolated session.")
cli.add_typer(agent, name="agent")

AsJson = Annotated[bool, typer.Option("--json", help="Give programs one JSON object (or one a line) on standard output.")]
Config = Annotated[Path | None, typer.Option("--config", help="The manifest, where it is not agent.yaml in the directory.")]
Template = Annotated[str | None, typer.Argument(help="Id, name, or name:tag; else the one that agent.yaml here was deployed as.")]


def run() -> None:
    cli()


@cli.callback()
def about() -> None:
    """Deploy agents and call them.

    Exit codes: 0 done, 1 the platform or the agent failed, 2 wrong usage, 3 no or a wrong API key, 4 not found, 5 the build failed.
    """


@agent.command()
def init(
    directory: Annotated[Path | None, typer.Argument(help="Where; it is made if it is not there. Default: here.")] = None,
    name: Annotated[str | None, typer.Option(help="Lower-case letters, digits, hyphens, dots. Default: the directory's name.")] = None,
    entrypoint: Annotated[str, typer.Option(help="The Python file that runs the agent; it is written if it is not there.")] = "agent.py",
    author: Annotated[str, typer.Option(help="E-mail address of the author.")] = "developer@example.com",
    as_json: AsJson = False,
) -> None:
    """Write agent.yaml, an agent of ten lines, and requirements.txt."""
    from ppio_sandbox.cli.scaffolding import init as work

    perform(lambda: work(directory, name, entrypoint, author, as_json=as_json), as_json=as_json)


@agent.command()
def deploy(
    directory: Annotated[Path | None, typer.Argument(help="The agent's directory. Default: here.")] = None,
    config: Config = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A movable tag for this build (may be given again).")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the build to its end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Pack, upload and build an agent; its template's id is printed on standard output."""
    from ppio_sandbox.cli.deploying import deploy as work

    perform(lambda: work(directory, config, tag or [], wait=wait, as_json=as_json), as_json=as_json)


@agent.command()
def invoke(  # noqa: PLR0917 (typer passes by name)
    template: Template = None,
    prompt: Annotated[str | None, typer.Argument(help="The prompt; the same as --input.")] = None,
    template_id: Annotated[str | None, typer.Option("--template-id", help="The same as the argument.")] = None,
    text: Annotated[str | None, typer.Option("--input", help="The prompt; - reads it from standard input.")] = None,
    json_input: Annotated[str | None, typer.Option("--json-input", help="The whole request, a JSON object; - reads it.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the agent's chunks as they come.")] = False,
    session: Annotated[str | None, typer.Option("--session", help="Call the agent of this session, and leave it alive.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the session that is made for the call alive, and say its id.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds for the call; of a stream, for each silence.")] = None,
    as_json: AsJson = False,
) -> None:
    """Call an agent, in a session made for the call unless one is named."""
    from ppio_sandbox.cli.calling import Wish
    from ppio_sandbox.cli.calling import invoke as work

    wish = Wish(template_id or template, prompt if text is None else text, json_input, stream, session, keep, timeout, as_json)
    perform(lambda: work(wish), as_json=as_json)


@agent.command("list")
def list_(
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only agents whose manifest has this tag (may be given again).")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only agents whose name contains this.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the deployed agents."""
    from ppio_sandbox.cli.showing import list_agents as work

    perform(lambda: work(tag, name, as_json=as_json), as_json=as_json)


@agent.command()
def logs(
    target: Annotated[str | None, typer.Argument(help="A session's id; with --build a template.")] = None,
    build: Annotated[bool, typer.Option("--build", help="The log of the template's newest build, followed while it runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the agent of a session wrote last, or how a build went."""
    from ppio_sandbox.cli.showing import build_log, session_log

    perform(lambda: build_log(target, as_json=as_json) if build else session_log(target, as_json=as_json), as_json=as_json)


@agent.command()
def delete(
    template: Annotated[str, typer.Argument(help="Id or name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a template with its builds."""
    from ppio_sandbox.cli.showing import delete as work

    perform(lambda: work(template, yes=yes, as_json=as_json), as_json=as_json)
