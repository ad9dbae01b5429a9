"""The three examples, deployed on a real platform and called as their README says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig, InvocationError, SandboxConfig
from support.model_server import model_server
from support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TABLE = (EXAMPLES / "analyst" / "sales.csv").read_text()


@pytest.fixture(scope="module")
async def model() -> AsyncGenerator[str]:
    with model_server("127.0.0.2", delay=0.01) as url:
        yield url


@pytest.fixture(scope="module")
async def examples(tmp_path_factory: pytest.TempPathFactory, model: str) -> AsyncGenerator[Platform]:
    """A platform on which the examples are deployed, and from which the model server can be reached."""
    options = ("--egress-allow", urlsplit(model).netloc)
    async with Platform(tmp_path_factory.mktemp("examples") / "data", *options, backend="process") as platform:
        await asyncio.gather(*[platform.deploy(EXAMPLES / name) for name in ("hello", "analyst", "researcher")])
        yield platform


@pytest.fixture
async def client(examples: Platform) -> AsyncGenerator[AgentRuntimeClient]:
    config = ClientConfig(sandbox_url=examples.sandbox_url)
    async with AgentRuntimeClient(api_key=examples.key, base_url=examples.api_url, config=config) as client:
        yield client
        await client.close_all_sessions()


@pytest.mark.promise("examples.hello")
async def test_hello_answers(client: AgentRuntimeClient) -> None:
    response = await client.invoke_agent("hello", "world")
    assert (response.result, response.status) == ("Hello, world!", "success")
    assert len((EXAMPLES / "hello" / "agent.py").read_text().replace("\n\n", "\n").strip().splitlines()) == 10


@pytest.mark.promise("examples.client")
async def test_the_caller_s_example_calls_in_each_way(examples: Platform) -> None:
    async def run(*arguments: str) -> tuple[str, str]:
        command = [sys.executable, "client_example.py", *arguments]
        env = {**os.environ, **examples.env}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=EXAMPLES / "agent_runtime", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return out.decode(), err.decode()

    out, err = await run()
    assert err == ""
    assert out.endswith(": Hello, second!\nstreamed: Hello, third!\n")
    _, err = await run("no-such-agent")
    assert err.startswith("Template no-such-agent not found")


@pytest.mark.promise("examples.analyst")
async def test_the_analyst_remembers_what_it_read_through_a_pause(client: AgentRuntimeClient) -> None:
    session = await client.create_session("analyst")
    findings = [chunk async for chunk in session.invoke({"prompt": "load", "data": {"csv": TABLE}}, stream=True)]
    assert findings[0] == "4,843 orders from 2024-01-01 to 2025-12-31.\n"
    assert [line for line in findings if line.startswith("Look at")] == [
        "Look at Headphones in the South in 2025-03: 45% came back, 4.0% is usual.\n"
    ]
    await session.pause()
    await session.resume()
    assert (await session.invoke("revenue by region"))["result"].startswith("North: 362,760\n")


@pytest.mark.promise("examples.analyst")
async def test_another_session_has_no_table(client: AgentRuntimeClient) -> None:
    session = await client.create_session("analyst")
    with pytest.raises(InvocationError, match="There is no table yet"):
        await session.invoke("revenue by region")


@pytest.mark.promise("examples.researcher")
async def test_the_researcher_uses_its_tools_and_streams_tokens(client: AgentRuntimeClient, model: str) -> None:
    config = SandboxConfig(env_vars={"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "scripted"})
    session = await client.create_session("researcher", config=config)
    tokens = [token async for token in session.invoke("How far is a lighthouse lamp seen?", stream=True)]
    assert len(tokens) > 10
    assert "".join(tokens).startswith("I read “How far a lighthouse can be seen”. The horizon lies at about 3.57 km")
