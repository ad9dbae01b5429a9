"""MCP servers: real ones, that come late, go away, die in a call and come back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from agentapps.serving import APPS, CONFIG, free_port, message, project, served
from agentapps.tool_server import TESTS, ToolServer, tool_server

if TYPE_CHECKING:
    from pathlib import Path

    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio

TRANSPORTS = {"sse": "sse", "streamable_http": "streamable-http"}


def servers(*told: tuple[str, str]) -> str:
    lines = [f"  {name}: {{url: '{url}', timeout: 10}}" for name, url in told]
    return CONFIG + "mcp_servers:\n" + "\n".join(lines) + "\n"


async def tools_of(app: Served) -> list[str]:
    return (await app.ask("tools", "looking")).split()


async def has_tools(app: Served, *names: str) -> None:
    with anyio.fail_after(30):
        while await tools_of(app) != sorted(names):
            await anyio.sleep(0.05)


@pytest.mark.promise("agentapp.tools", "agentapp.tools-errors", "agentapp.tools-killed", "agentapp.tools-away")
@pytest.mark.parametrize("way", TRANSPORTS)
async def test_a_server_is_used_and_missed_and_used_again(way: str, models: ModelServer, tmp_path: Path) -> None:
    server = ToolServer(TRANSPORTS[way], free_port())
    directory = project(tmp_path, APPS / "kitchen.py", servers(("tools", server.url)))
    try:
        async with served(directory, MODEL_URL=models.openai) as app:
            assert await tools_of(app) == [], "it starts while the server is down"
            began = tmp_path / "slow-began"
            await server.start(SLOW_BEGAN=str(began))
            await has_tools(app, "search", "slow", "fail")
            assert await app.ask('react use search {"query": "it"}', "a") == "Let me see. The tool said: tools found it"
            assert "the tool's own words" in await app.ask("react use fail {}", "a")
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(app.ask, 'react use search {"query": "it"}', f"many-{number}")

            send, receive = anyio.create_memory_object_stream[str](1)

            async def call_slow() -> None:
                await send.send(await app.ask('react use slow {"seconds": 20}', "b"))

            with send, receive:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call_slow)
                    with anyio.fail_after(20):
                        while not began.exists():
                            await anyio.sleep(0.02)
                    await server.kill()
                    with anyio.fail_after(15):
                        assert "may have been carried out, or not" in await receive.receive()

            async def call_again() -> None:
                said = await app.ask('react use search {"query": "again"}', "c")
                assert "tools found again" in said

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call_again)  # waits for the server, which is not there
                await anyio.sleep(0.3)
                await server.start()
            await server.kill()
            await server.start()
            assert "tools found quick" in await app.ask('react use search {"query": "quick"}', "d"), "a restarted one does not know us"
            await server.kill()
            gone = await app.ask('react use search {"query": "x"}', "e")
            assert "did not answer within 10 s" in gone
    finally:
        await server.kill()


@pytest.mark.promise("agentapp.tools-clash")
async def test_tools_of_one_name_both_have_one(models: ModelServer, tmp_path: Path) -> None:
    async with tool_server("sse", free_port()) as one, tool_server("streamable-http", free_port(), "other") as two:
        directory = project(tmp_path, APPS / "kitchen.py", servers(("first", one.url), ("second", two.url)))
        async with served(directory, MODEL_URL=models.openai) as app:
            names = await tools_of(app)
            assert len(names) == 7
            twin = next(name for name in names if name.endswith("__search"))
            said = [await app.ask(f'react use {name} {{"query": "x"}}', "clash") for name in ("search", twin)]
            assert sorted(answer.rpartition("said: ")[2] for answer in said) == ["other found x", "tools found x"]


@pytest.mark.promise("agentapp.tools", "agentapp.secrets")
async def test_a_program_is_a_server_too_and_its_secrets_stay_secret(models: ModelServer, tmp_path: Path) -> None:
    config = CONFIG + (
        "mcp_servers:\n"
        f"  local: {{command: '{sys.executable}', args: [-m, agentapps.tool_server, stdio], env: {{PYTHONPATH: '{TESTS}', KEY: hush-hush}}}}\n"
        "  broken: {command: /no/such/program}\n"
    )
    async with served(project(tmp_path, APPS / "kitchen.py", config), MODEL_URL=models.openai) as app:
        assert await tools_of(app) == ["fail", "search", "slow"]
        assert "tools found x" in await app.ask('react use search {"query": "x"}')
        reply = await app.post(message("fail hush-hush"))
        assert reply.json()["error"]["message"] == "[secret]"
        await app.says("MCP server broken is not connected")
        await app.says("the app failed")
        assert "hush-hush" not in "".join(app.log)
