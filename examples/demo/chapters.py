"""The chapters: each a small function that does one thing to the platform, and checks what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from examples.demo import traces
from examples.demo.host import BIN, run
from examples.demo.prefabs import prefabs

from ppio_sandbox.agent_runtime.client import AgentClientError, InvocationRequest, SandboxConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from examples.demo.host import Platform
    from examples.demo.story import Story

    from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, SandboxSession

EXAMPLES = Path(__file__).resolve().parents[1]
AGENTS = {
    "hello": EXAMPLES / "hello",
    "analyst": EXAMPLES / "analyst",
    "researcher": EXAMPLES / "researcher",
    "probe": EXAMPLES / "demo" / "probe",
}


@dataclass
class Stage:
    """What the chapters hand on to each other."""

    story: Story
    platform: Platform
    client: AgentRuntimeClient
    env: dict[str, str]
    model: dict[str, str]
    """OPENAI_… for the researcher."""
    scripted: bool
    """Whether the model is ours, so that its answer is known."""
    sessions: dict[str, SandboxSession] = field(default_factory=dict[str, "SandboxSession"])
    seen: set[str] = field(default_factory=set[str])
    """The ids of all sandboxes of this story."""

    async def open(self, name: str, agent: str, **env: str) -> SandboxSession:
        """Start a session and remember it under a name."""
        session = await self.client.create_session(agent, timeout_seconds=600, config=SandboxConfig(timeout_seconds=600, env_vars=env))
        self.sessions[name] = session
        self.seen.add(session.sandbox_id)
        return session


async def deploy(stage: Stage) -> None:
    stage.story.chapter("From folders to templates")
    cli = str(BIN / "ppio-sandbox-cli")
    for name, folder in AGENTS.items():
        copy = stage.platform.data_dir.parent / "agents" / name  # the command writes the template's id into agent.yaml
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
        with stage.story.step(f"ppio-sandbox-cli agent deploy examples/{folder.relative_to(EXAMPLES)}"):
            told = json.loads(await run(cli, "agent", "deploy", str(copy), "--json", env={**os.environ, **stage.env}))
        stage.story.check(told["phase"] == "deployed", f"{name} is template {told['template_id']}: built, and it has answered once")
    names = {template.name for template in await stage.client.list_templates()}
    stage.story.check(names == set(AGENTS), f"The client lists {', '.join(sorted(names))}")


async def ask(stage: Stage) -> None:
    stage.story.chapter("Ask")
    with stage.story.step("invoke_agent('hello'): sandbox made, asked, ended"):
        response = await stage.client.invoke_agent("hello", "world")
    stage.story.check(response.result == "Hello, world!", f"It answers: {response.result}")
    session = await stage.open("hello", "hello")
    with stage.story.step("invoke() in a session that stays"):
        answer = await session.invoke(InvocationRequest(prompt="again"))
    stage.story.check(answer["result"] == "Hello, again!", f"It answers: {answer['result']}")


async def stream(stage: Stage) -> None:
    stage.story.chapter("Stream: a LangGraph agent with tools, its model behind the egress proxy")
    with stage.story.step("create_session('researcher')"):
        session = await stage.open("researcher", "researcher", **stage.model)
    started = time.perf_counter()
    arrivals: list[float] = []
    said = ""
    stage.story.console.print("   ", end="")
    async for token in await session.invoke("How many neurons has an octopus, and where are they?", stream=True):
        arrivals.append(time.perf_counter() - started)
        stage.story.token(token)
        said += token
    stage.story.console.print()
    stage.story.took("To its first token", arrivals[0] if arrivals else 0.0)
    stage.story.check(len(arrivals) > 5, f"{len(arrivals)} tokens came one by one over {arrivals[-1] - arrivals[0]:.2f} s")
    stage.story.check("500 million" in said or not stage.scripted, "It searched its library and read the text before it answered")


async def remember(stage: Stage) -> None:
    stage.story.chapter("A data set in the session's memory")
    table = (EXAMPLES / "analyst" / "sales.csv").read_text()
    session = await stage.open("analyst", "analyst")
    with stage.story.step(f"The analyst reads {len(table.splitlines()) - 1:,} orders ({len(table) // 1024} KiB)"):
        said = await text(await session.invoke({"prompt": "load", "data": {"csv": table}}, stream=True))
    stage.story.quote(said)
    stage.story.check("Headphones in the South in 2025-03" in said, "It found the bad batch that is hidden in the data")


async def apart(stage: Stage) -> None:
    stage.story.chapter("Two sessions side by side")
    with stage.story.step("Three more sessions, at once"):
        other, one, two = await asyncio.gather(stage.open("other", "analyst"), stage.open("one", "probe"), stage.open("two", "probe"))
    try:
        said = await text(await other.invoke({"prompt": "revenue by region"}, stream=True))
    except AgentClientError as error:
        said = str(error)
    stage.story.check("There is no table yet" in said, "The second analyst knows nothing of the first one's table")
    await one.invoke("write")
    api = urlsplit(stage.env["PPIO_API_URL"])
    view = (await two.invoke({"prompt": "look", "data": {"address": [api.hostname, api.port]}}))["result"]
    stage.story.check("secret.txt" not in view["files"], "A file that one session wrote is not in the other's home")
    stage.story.check(view["processes"] < 10, f"It sees {view['processes']} processes, its own")
    stage.story.check(view["interfaces"] == ["lo"], "It has no network interface but loopback")
    stage.story.check(not view["reaches_host"], "It cannot reach the platform's own port")
    stage.story.check(not any("KEY" in name for name in view["variables"]), "No key is in its environment")


async def pause(stage: Stage) -> None:
    stage.story.chapter("Pause, resume, nothing forgotten")
    session = stage.sessions["analyst"]
    with stage.story.step("pause()"):
        await session.pause()
    stage.story.check((await session.get_status()).value == "paused", "The session is paused: it uses no CPU")
    with stage.story.step("resume()"):
        await session.resume()
    await recall(stage, "To the first answer after it", "It still has the table")


async def crash(stage: Stage) -> None:
    stage.story.chapter("An agent that crashes")
    try:
        await stage.sessions["one"].invoke("crash")
    except AgentClientError as error:
        stage.story.quote(f"{type(error).__name__}: {error}\n{error.output}")
        stage.story.check(error.exit_code == 7, "The caller is told the exit code, 7")
        stage.story.check("flux capacitor" in error.output, "and the last lines that the agent printed")
    else:
        stage.story.check(holds=False, sentence="A crashed agent must not answer")
    look = await stage.sessions["two"].invoke({"prompt": "look", "data": {"address": ["127.0.0.1", 1]}})
    stage.story.check(look["result"]["interfaces"] == ["lo"], "Its neighbour answers as if nothing had happened")


async def survive(stage: Stage) -> None:
    stage.story.chapter("kill -9 of the server")
    await stage.platform.kill()
    stage.story.say("The server is dead; the sandboxes are not its children and live on.")
    with stage.story.step("sandyard serve, on the same data directory"):
        await stage.platform.start()
    status = (await stage.sessions["analyst"].get_status()).value
    stage.story.check(status == "active", "The new server has adopted the sessions")
    await recall(stage, "To the first answer after kill -9", "The analyst's memory is whole")


async def close(stage: Stage) -> None:
    stage.story.chapter("Close, stop, nothing left")
    with stage.story.step("close_all_sessions()"):
        await stage.client.close_all_sessions()
    stage.story.check(await stage.client.list_sessions() == [], "No session is left")
    known = traces.family(stage.platform.data_dir)
    with stage.story.step("SIGTERM"):
        code = await stage.platform.stop()
    stage.story.check(code == 0, "The server ended with status 0")
    for what, left in leftovers(stage, known).items():
        stage.story.check(not left, f"No {what} is left" + (f": {left}" if left else ""))


def leftovers(stage: Stage, known: traces.Known) -> dict[str, list[str]]:
    sandboxes = stage.platform.data_dir / "sandboxes"
    return {
        "process": traces.living(known),
        "mount": traces.mounts(stage.platform.data_dir),
        "control group": traces.control_groups(stage.seen),
        "sandbox directory": [path.name for path in sandboxes.iterdir()] if sandboxes.exists() else [],
    }


async def recall(stage: Stage, what: str, sentence: str) -> None:
    """Ask the analyst something that it can only answer from memory."""
    with stage.story.step(what):
        said = await text(await stage.sessions["analyst"].invoke({"prompt": "revenue by region"}, stream=True))
    stage.story.check(said.startswith("North: "), f"{sentence}: {', '.join(said.split(chr(10))[:2])} …")


async def text(stream_: AsyncIterator[str]) -> str:
    return "".join([chunk async for chunk in stream_])


CHAPTERS = (deploy, ask, stream, remember, apart, pause, crash, prefabs, survive)
"""In their order; `close` comes last, unless the platform is kept."""
