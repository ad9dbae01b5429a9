"""The scripted model server, by the letter of the protocol that it speaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.model_server import model_server

if TYPE_CHECKING:
    from collections.abc import Generator

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("search", "read")]
QUESTION = {"role": "user", "content": "How many neurons?"}


@pytest.fixture(scope="module")
def model() -> Generator[httpx.Client]:
    with model_server() as url, httpx.Client(base_url=url, headers={"Authorization": "Bearer x"}, timeout=30, trust_env=False) as client:
        yield client


def ask(model: httpx.Client, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    reply = model.post("/chat/completions", json={"model": "m", "messages": messages, **fields})
    reply.raise_for_status()
    return reply.json()


@pytest.mark.promise("examples.model-server")
def test_it_calls_tools_until_it_can_answer(model: httpx.Client) -> None:
    first = ask(model, QUESTION, tools=TOOLS)["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    called = first["message"]["tool_calls"][0]
    assert (called["type"], called["function"]["name"]) == ("function", "search")
    assert json.loads(called["function"]["arguments"]) == {"question": "How many neurons?"}
    found = {"role": "tool", "tool_call_id": called["id"], "content": '["octopus", "glass"]'}
    second = ask(model, QUESTION, first["message"], found, tools=TOOLS)["choices"][0]["message"]
    assert json.loads(second["tool_calls"][0]["function"]["arguments"]) == {"name": "octopus"}
    text = {"role": "tool", "tool_call_id": "2", "content": "# Title\nSome\ntext."}
    last = ask(model, QUESTION, first["message"], found, second, text, tools=TOOLS)["choices"][0]
    assert (last["finish_reason"], last["message"]["content"]) == ("stop", "I read “Title”. Some text.")


@pytest.mark.promise("examples.model-server")
@pytest.mark.parametrize("tools", [[], TOOLS])
def test_a_stream_adds_up_to_the_whole(model: httpx.Client, tools: list[dict[str, Any]]) -> None:
    request = {"model": "m", "messages": [QUESTION], "tools": tools, "stream": True}
    with model.stream("POST", "/chat/completions", json=request) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == ("tool_calls" if tools else "stop")
    arguments = "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta)
    assert arguments == ('{"question": "How many neurons?"}' if tools else "")
    assert "".join(delta.get("content") or "" for delta in deltas) == ("" if tools else "You asked: How many neurons?")


@pytest.mark.promise("examples.model-server")
def test_it_wants_a_key_as_the_real_one_does(model: httpx.Client) -> None:
    refused = model.post("/chat/completions", json={"messages": [QUESTION]}, headers={"Authorization": ""})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert model.get("/models").json()["object"] == "list"
