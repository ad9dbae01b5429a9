"""The story of Sandyard, told by a real server, real sandboxes and real agents. `scripts/demo` runs it.

Exit status 0 only if every step was checked; 1 if one does not hold; 2 if the platform could not be started.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from examples.demo.chapters import CHAPTERS, Stage, close
from examples.demo.host import BIN, HostError, ModelServer, Platform, run, tail
from examples.demo.story import Story, StoryBrokenError
from rich.console import Console

from gateway_sdk import GatewayError
from ppio_sandbox.agent_runtime.client import AgentClientError, AgentRuntimeClient, ClientConfig

NEXT = """What to try next
  docs/quickstart.md               an agent of your own, in five minutes
  ./scripts/demo --keep            leave the platform running, and play with it
  ./scripts/test                   every promise that this demo made, tested
  docs/isolation.md                what a sandbox holds back here, and what weakens it"""


@dataclass
class Cast:
    """Who plays: what must be told to leave at the end, unless it is kept."""

    home: Path
    platform: Platform
    model: ModelServer | None = None

    async def leave(self) -> None:
        """End what still runs and remove what was written."""
        if self.model is not None:
            await self.model.stop()
        await self.platform.stop()
        shutil.rmtree(self.home, ignore_errors=True)


async def main() -> int:
    """Tell the story."""
    chosen = parse(sys.argv[1:])
    story = Story(Console(highlight=False))
    home = Path(tempfile.mkdtemp(prefix="sandyard-demo-"))
    cast = Cast(home, Platform(home / "data", chosen.backend, allow=[]))
    kept = False
    try:
        await tell(story, cast, keep=chosen.keep)
        kept = chosen.keep
    except (StoryBrokenError, AgentClientError, GatewayError, HostError) as error:
        report(story.console, cast.platform, error)
        return 2 if isinstance(error, HostError) else 1
    finally:
        if not kept:
            await cast.leave()
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Tell the story of Sandyard with a real platform and real agents.")
    parser.add_argument("--keep", action="store_true", help="leave the platform running and print its environment")
    parser.add_argument("--backend", default="process", help="the back end of sandboxes (default: process)")
    return parser.parse_args(arguments)


async def tell(story: Story, cast: Cast, *, keep: bool) -> None:
    """Start the platform and go through the chapters."""
    story.chapter("One process to start")
    variables = await model_variables(story, cast)
    cast.platform.allow = [address_of(variables.get("OPENAI_BASE_URL", "https://api.openai.com/v1"))]
    with story.step(f"sandyard serve --data-dir … --egress-allow {cast.platform.allow[0]}"):
        await cast.platform.start()
    with story.step("sandyard doctor: the isolation that this machine gives"):
        isolation = await run(str(BIN / "sandyard"), "doctor", "--backend", cast.platform.backend, env=dict(os.environ))
    story.quote(isolation)
    env = await cast.platform.env()
    config = ClientConfig(sandbox_url=env["PPIO_SANDBOX_URL"])
    async with AgentRuntimeClient(api_key=env["PPIO_API_KEY"], base_url=env["PPIO_API_URL"], config=config) as client:
        stage = Stage(story, cast.platform, client, env, variables, scripted=cast.model is not None)
        for chapter in CHAPTERS:
            await chapter(stage)
        if not keep:
            await close(stage)
    story.summary()
    if keep:
        farewell(story.console, cast, {**env, **variables})
    story.console.print(f"\n{NEXT}", markup=False, soft_wrap=True)


async def model_variables(story: Story, cast: Cast) -> dict[str, str]:
    """Return the researcher's OPENAI_… variables: the user's own, else those of the scripted model server."""
    own = {name: os.environ[name] for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL") if os.environ.get(name)}
    if "OPENAI_API_KEY" in own:
        story.say(f"OPENAI_API_KEY is set: the researcher uses your model at {own.get('OPENAI_BASE_URL', 'api.openai.com')}.")
        return own
    with story.step("A scripted model server, outside of every sandbox"):
        cast.model = await ModelServer.start(cast.home / "model.log")
    return {"OPENAI_BASE_URL": cast.model.url, "OPENAI_API_KEY": "scripted"}


def address_of(url: str) -> str:
    """Return `host:port`, as `--egress-allow` takes it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def farewell(console: Console, cast: Cast, env: dict[str, str]) -> None:
    """Say what was left running, and how to use and end it."""
    running = [process for process in (cast.platform.process, cast.model and cast.model.process) if process is not None]
    console.print(f"\nThe platform runs on. End it with: kill {' '.join(str(process.pid) for process in running)}")
    console.print(f"Its files: {cast.home}\nIts environment:", markup=False)
    console.print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items()), soft_wrap=True, markup=False)


def report(console: Console, platform: Platform, error: Exception) -> None:
    """Say why the story ended early."""
    console.print(f"\nThe story ends here: {error}", style="bold red", markup=False)
    if isinstance(error, AgentClientError) and error.output:
        console.print(error.output, markup=False)
    if not isinstance(error, HostError):
        console.print(f"\nThe platform's last lines:\n{tail(platform.log)}", markup=False, style="dim")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
