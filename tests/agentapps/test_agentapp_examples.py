"""The examples, as they lie in the repository."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentapps.serving import free_port, message, served
from agentapps.tool_server import tool_server

if TYPE_CHECKING:
    from agentapps.models import ModelServer

pytestmark = [pytest.mark.anyio, pytest.mark.promise("agentapp.examples")]

EXAMPLES = Path(__file__).parents[2] / "examples" / "agentscope"


def example(name: str, directory: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / name, directory / name))


async def test_chat_and_planner(models: ModelServer, tmp_path: Path) -> None:
    variables = {"OPENAI_BASE_URL": models.openai, "OPENAI_API_KEY": "sk-test"}
    async with served(example("chat", tmp_path), **variables) as app:
        assert await app.ask("Hello") == "You said: Hello"
    async with served(example("planner", tmp_path), **variables) as app:
        assert await app.ask("Hello") == "Plan: You said: Hello\nYou said: You said: Hello"


async def test_searcher_remembers_across_a_restart(models: ModelServer, tmp_path: Path) -> None:
    directory = example("searcher", tmp_path)
    async with tool_server("sse", free_port()) as tools:
        variables = {"OPENAI_BASE_URL": models.openai, "OPENAI_API_KEY": "sk-test", "SEARCH_URL": tools.url}
        async with served(directory, **variables) as app:
            assert (await app.ask('use search {"query": "it"}')).endswith("tools found it")
        async with served(directory, **variables) as app:
            await app.ask("again")
    assert "tools found it" in str(models.requests[-1])


async def test_a_person_is_asked_before_the_tool_acts(models: ModelServer, tmp_path: Path) -> None:
    directory = example("approval", tmp_path)
    variables = {"OPENAI_BASE_URL": models.openai, "OPENAI_API_KEY": "sk-test"}
    wish = 'use pay {"to": "Ada", "euros": 5}'
    async with served(directory, **variables) as app:
        *_, asked, _done = await app.chunks(message(wish))
        approval = asked["metadata"]["approval"]
        assert (approval["tool"], approval["input"]) == ("pay", {"to": "Ada", "euros": 5})
    async with served(directory, **variables) as app:  # the answer may come after a restart
        for metadata in ({}, {"approve": "another"}, {"approve": approval["id"]}):
            refused = await app.ask(wish, **metadata)
            assert "paid" not in refused, "one answer drops what waited; an old id lets nothing through"
        asked = (await app.chunks(message(wish)))[-2]["metadata"]["approval"]
        other = await app.ask('use pay {"to": "Eve", "euros": 500}', approve=asked["id"])
        assert "paid" not in other, "only the very call is let through"
        asked = (await app.chunks(message(wish)))[-2]["metadata"]["approval"]
        assert "paid 5 euros to Ada" in await app.ask(wish, approve=asked["id"])
        assert "paid" not in (await app.ask(wish, approve=asked["id"])).rpartition("said:")[2], "once"
