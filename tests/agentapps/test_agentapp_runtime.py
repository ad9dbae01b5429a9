"""`runtime` in a script of a user's own: models, agents, sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentapps.serving import APPS, ran

if TYPE_CHECKING:
    from pathlib import Path

    from agentapps.models import ModelServer

pytestmark = pytest.mark.anyio

CONFIG = """\
models:
  main: {provider: openai, base_url: "${MODEL_URL}", model: gpt-4, api_key: sk-test}
  quiet: {provider: openai, base_url: "${MODEL_URL}", model: gpt-4, api_key: sk-test, stream: false}
"""
PROVIDERS = """\
models:
  openai: {provider: openai, base_url: "${URL}/v1", model: m, api_key: sk-test, generate_kwargs: {temperature: 0.5}}
  anthropic: {provider: anthropic, base_url: "${URL}", model: m, api_key: sk-test, generate_kwargs: {max_tokens: 77}}
  dashscope: {provider: dashscope, base_url: "${URL}/dashscope", model: m, api_key: sk-test}
  gemini: {provider: gemini, base_url: "${URL}", model: m, api_key: sk-test}
  ollama: {provider: ollama, base_url: "${URL}", model: m}
  elsewhere: {provider: dashscope, base_url: "http://127.0.0.1:9", model: m, api_key: sk-test}
"""
ASK_ALL = """\
import asyncio
from agentscope.message import Msg
from agentscope.runtime import runtime

async def main():
    await runtime.initialize()
    runtime.models.elsewhere  # another address of one provider changes nothing for the first
    message = Msg("user", "one two", "user")
    for slot in ("openai", "anthropic", "dashscope", "gemini", "ollama"):
        model = runtime.models[slot]
        texts = [chunk.text async for chunk in model.stream([message])]
        print(slot, texts, (await model([message])).text)
    await runtime.shutdown()

asyncio.run(main())
"""


async def check(name: str, directory: Path, models: ModelServer, *promised: str) -> None:
    (directory / "agentapp.yaml").write_text(CONFIG)
    script = APPS / "streams.py"
    code, out, err = await ran(str(script), name, cwd=directory, program="python", MODEL_URL=models.openai)
    assert code == 0, err
    assert out.strip().endswith(f"kept {name}")


@pytest.mark.promise("agentapp.models", "agentapp.model-streams")
async def test_models_answer_in_each_way(models: ModelServer, tmp_path: Path) -> None:
    await check("models", tmp_path, models)


@pytest.mark.promise("agentapp.agent-streams", "agentapp.agents-complete")
async def test_agents_stream_and_are_complete(models: ModelServer, tmp_path: Path) -> None:
    await check("agents", tmp_path, models)


@pytest.mark.promise("agentapp.agent-streams")
async def test_agents_that_print_nothing_or_raise_stream_too(models: ModelServer, tmp_path: Path) -> None:
    await check("others", tmp_path, models)


@pytest.mark.promise("agentapp.no-cross-talk")
async def test_twenty_streams_at_once_do_not_mix(models: ModelServer, tmp_path: Path) -> None:
    await check("crowd", tmp_path, models)


@pytest.mark.promise("agentapp.interrupts")
async def test_an_interrupt_is_one_and_a_cancellation_is_one(models: ModelServer, tmp_path: Path) -> None:
    models.delay = 0.02
    await check("interrupts", tmp_path, models)


@pytest.mark.promise("agentapp.sessions")
async def test_modules_are_loaded_and_saved_whole(models: ModelServer, tmp_path: Path) -> None:
    await check("state", tmp_path, models)


@pytest.mark.promise("agentapp.providers")
async def test_every_provider_streams_and_answers(models: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "agentapp.yaml").write_text(PROVIDERS)
    code, out, err = await ran("-c", ASK_ALL, cwd=tmp_path, program="python", URL=models.url)
    assert code == 0, err
    expected = "['You ', 'said: ', 'one ', 'two'] You said: one two"
    assert out.splitlines() == [f"{slot} {expected}" for slot in ("openai", "anthropic", "dashscope", "gemini", "ollama")], out
    assert [body["temperature"] for body in models.requests if "temperature" in body] == [0.5, 0.5]
    assert [body["max_tokens"] for body in models.requests if "max_tokens" in body] == [77, 77]
