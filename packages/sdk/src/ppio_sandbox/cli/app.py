"""The commands and their options; what they do stands in the module of each, imported when it is called."""

# ruff: noqa: PLC0415 (that is the point: `--help` and wrong usage answer at once)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppio_sandbox.cli.output import perform

SHORT = {"help_option_names": ["-h", "--help"]}
cli = typer.Typer(name="ppio-sandbox-cli", no_args_is_help=True, pretty_exceptions_enable=False, context_settings=SHORT)
agent = typer.Typer(no_args_is_help=True, help="Agents: from a directory to an isolated session.")
cli.add_typer(agent, name="agent")

AsJson = Annotated[bool, typer.Option("--json", help="Give programs one JSON object (or one a line) on standard output.")]
Config = Annotated[Path | None, typer.Option("--config", help="The manifest, where it is not agent.yaml in the directory.")]
Template = Annotated[str | None, typer.Argument(help="Id, name, or name:tag; else the one that agent.yaml here was deployed as.")]


def run() -> None:
    cli()


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("sandyard-sdk"))
        raise typer.Exit


@cli.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Deploy agents and call them.

    Exit codes: 0 done, 1 the platform or the agent failed, 2 wrong usage, 3 no or a wrong API key, 4 not found, 5 the build failed,
    130 interrupted.
    """
    del version  # its callback has told it


@agent.command()
def init(
    directory: Annotated[Path | None, typer.Argument(help="Where; it is made if it is not there. Default: here.")] = None,
    name: Annotated[str | None, typer.Option(help="Lower-case letters, digits, hyphens, dots. Default: the directory's name.")] = None,
    entrypoint: Annotated[str, typer.Option(help="The Python file that runs the agent; it is written if it is not there.")] = "agent.py",
    author: Annotated[str, typer.Option(help="E-mail address of the author.")] = "developer@example.com",
    as_json: AsJson = False,
) -> None:
    """Write agent.yaml, an agent of ten lines, requirements.txt and a Dockerfile."""
    from ppio_sandbox.cli.scaffolding import init as work

    perform(lambda: work(directory, name, entrypoint, author, as_json=as_json), as_json=as_json)


@agent.command()
def deploy(  # noqa: PLR0917 (typer passes by name)
    directory: Annotated[Path | None, typer.Argument(help="The agent's directory. Default: here.")] = None,
    config: Config = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A movable tag for this build (may be given again).")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the build to its end.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the manifest and list what would be packed; send nothing.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build from nothing. Each build does; this says it aloud.")] = False,
    update_existing: Annotated[
        bool, typer.Option("--update-existing/--no-update-existing", help="Give a template of that name a new build, or refuse to.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Pack, upload and build an agent; its template's id is printed on standard output."""
    from ppio_sandbox.cli.deploying import Wish
    from ppio_sandbox.cli.deploying import deploy as work

    del no_cache  # no build uses what another has downloaded
    wish = Wish(directory or Path(), config, tag or [], wait, dry_run, update_existing, as_json)
    perform(lambda: work(wish), as_json=as_json)


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
    env: Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE for the new session (may be given again).")] = None,
    as_json: AsJson = False,
) -> None:
    """Call an agent, in a session made for the call unless one is named."""
    from ppio_sandbox.cli.calling import Wish
    from ppio_sandbox.cli.calling import invoke as work

    if session is not None and prompt is text is json_input is None:
        template, prompt = None, template  # a session has its template: what stands there is the prompt
    input_ = prompt if text is None else text
    wish = Wish(template_id or template, input_, json_input, stream, session, keep, timeout, tuple(env or ()), as_json)
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
def info(
    template: Template = None,
    template_id: Annotated[str | None, typer.Option("--template-id", help="The same as the argument.")] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a deployed agent."""
    from ppio_sandbox.cli.showing import info as work

    perform(lambda: work(template_id or template, as_json=as_json), as_json=as_json)


@agent.command()
def sessions(
    close: Annotated[list[str] | None, typer.Option("--close", help="First end the session of this id (may be given again).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the running and paused sessions of this API key."""
    from ppio_sandbox.cli.showing import sessions as work

    perform(lambda: work(close or [], as_json=as_json), as_json=as_json)


@agent.command()
def configure(  # noqa: PLR0917 (typer passes by name)
    directory: Annotated[Path | None, typer.Argument(help="The agent's directory. Default: here.")] = None,
    config: Config = None,
    name: Annotated[str | None, typer.Option(help="Lower-case letters, digits, hyphens, dots.")] = None,
    version: Annotated[str | None, typer.Option(help="The agent's version.")] = None,
    author: Annotated[str | None, typer.Option(help="E-mail address of the author.")] = None,
    description: Annotated[str | None, typer.Option(help="One sentence.")] = None,
    entrypoint: Annotated[str | None, typer.Option(help="The Python file that runs the agent.")] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds that the agent may take to start, 1 to 3600.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory limit: 512Mi, 1Gi.")] = None,
    cpu: Annotated[str | None, typer.Option(help="CPU limit: 1, 500m.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change agent.yaml: by options, or without any by questions on a terminal. Comments and order stay."""
    from ppio_sandbox.cli.configuring import configure as work

    options = (name, version, author, description, entrypoint, timeout, memory, cpu)
    perform(lambda: work(directory or Path(), config, options, as_json=as_json), as_json=as_json)


@agent.command("run")
def run_(  # noqa: PLR0917 (typer passes by name)
    directory: Annotated[Path | None, typer.Argument(help="The agent's directory. Default: here.")] = None,
    config: Config = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 8080,
    env: Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE for the agent (may be given again).")] = None,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="Start again when a file changes.")] = True,
) -> None:
    """Run the agent here, without a platform and without isolation, until Ctrl-C."""
    from ppio_sandbox.cli.running import run as work

    perform(lambda: work(directory or Path(), config, (host, port), env or [], reload=reload), as_json=False)


@agent.command()
def doctor(as_json: AsJson = False) -> None:
    """Say whether the API key, the platform, its ingress and the manifest here are as they should be."""
    from ppio_sandbox.cli.diagnosing import diagnose

    perform(lambda: diagnose(as_json=as_json), as_json=as_json)


@agent.command()
def logs(
    target: Annotated[str | None, typer.Argument(help="A session's id; with --build a template.")] = None,
    build: Annotated[bool, typer.Option("--build", help="The log of the template's newest build, followed while it runs.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written next, until the session ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the agent of a session wrote last, or how a build went."""
    from ppio_sandbox.cli.logs import build_log, session_log

    work = build_log(target, as_json=as_json) if build else session_log(target, follow=follow, as_json=as_json)
    perform(lambda: work, as_json=as_json)


@agent.command()
def delete(
    template: Annotated[str, typer.Argument(help="Id or name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a template with its builds."""
    from ppio_sandbox.cli.showing import delete as work

    perform(lambda: work(template, yes=yes, as_json=as_json), as_json=as_json)
