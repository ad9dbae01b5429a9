"""An AgentScope app as an agent of the platform: deployed by the command line, called through the client, in real sandboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient, ClientConfig, InvocationError
from support.cli import Cli
from support.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from ppio_sandbox.agent_runtime.client import SandboxSession

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(900)]

APP = """\
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import AgentApp, SessionContext, runtime


class App(AgentApp):
    def __init__(self):
        self.memory = InMemoryMemory()

    async def __call__(self, msg: Msg, ctx: SessionContext):
        if msg.get_text_content() == "model":
            runtime.models.main
        await runtime.session.load_session_state(ctx.session_id, memory=self.memory)
        await self.memory.add(msg)
        await runtime.session.save_session_state(ctx.session_id, memory=self.memory)
        for said in await self.memory.get_memory():
            yield Msg("assistant", said.get_text_content() + " ", "assistant")
"""
CONFIG = "models:\n  main: {provider: openai, model: gpt-4, api_key: '${OPENAI_API_KEY}'}\n"
AGENT = "import sys\n\nfrom agentapp import serve\n\nif __name__ == '__main__':\n    sys.exit(serve())\n"
MANIFEST = """\
apiVersion: v1
kind: Agent
metadata: {name: scope, version: 1.0.0, author: tests@example.com}
spec: {entrypoint: agent.py, runtime: {timeout: 120, memory_limit: 1Gi}}
"""


def app_directory(directory: Path) -> Path:
    directory.mkdir()
    files = {"app.py": APP, "agentapp.yaml": CONFIG, "agent.py": AGENT, "agent.yaml": MANIFEST, "requirements.txt": "sandyard-agentscope\n"}
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


@pytest.mark.promise("agentapp.deploys", "agentapp.forks")
async def test_an_app_deploys_like_any_agent(tmp_path: Path) -> None:
    directory = app_directory(tmp_path / "scope")
    async with Platform(tmp_path / "data", backend="process") as platform:
        cli = Cli(tmp_path, platform.env)
        deploying = await cli.start("deploy", str(directory))
        _, err = await deploying.communicate()
        assert deploying.returncode == 0, err.decode()
        config = ClientConfig(sandbox_url=platform.sandbox_url)
        async with AgentRuntimeClient(platform.key, platform.api_url, config=config) as client:
            session = await client.create_session("scope")
            try:
                assert [chunk async for chunk in session.invoke("one", stream=True)] == ["one "]
                await session.pause()
                await session.resume()
                assert [chunk async for chunk in session.invoke("two", stream=True)] == ["one ", "two "]
                assert (await session.invoke({"prompt": "three", "stream": False})).result == "one two three "
                with pytest.raises(InvocationError, match="OPENAI_API_KEY is not set"):
                    await session.invoke("model")
                assert (await session.ping()).status == "Healthy"
                await forked(platform, client, session)
            finally:
                await session.close()


async def forked(platform: Platform, client: AgentRuntimeClient, session: SandboxSession) -> None:
    """Two forks go on with what the session has said, and then each by itself."""
    reply = await platform.api.post(f"/sandboxes/{session.sandbox_id}/fork", json={"count": 2, "timeout": 120})
    assert reply.status_code == 201, reply.text
    for made in reply.json():
        twin = await client.get_session(made["sandbox"]["sandboxID"])
        assert twin is not None
        try:
            assert (await twin.call({"prompt": "twin"})).result == "one two three twin "
        finally:
            await twin.close()
    assert (await session.call({"prompt": "four"})).result == "one two three four "
