"""The wire of an app: `/invoke`, `/health`, and the agent's own `/invocations` and `/ping`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentapps.serving import left, message

if TYPE_CHECKING:
    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio


@pytest.mark.promise("agentapp.http-stream")
async def test_an_answer_streams_what_is_new_and_says_when_it_is_done(kitchen: Served) -> None:
    chunks = await kitchen.chunks(message("echo one two"))
    assert chunks == [
        {"name": "assistant", "content": "one ", "role": "assistant", "metadata": {"chunk": True}},
        {"name": "assistant", "content": "two ", "role": "assistant", "metadata": {"chunk": True}},
        {"name": "assistant", "content": "", "role": "assistant", "metadata": {"done": True}},
    ]


@pytest.mark.promise("agentapp.http-json")
async def test_who_accepts_json_gets_one_message(kitchen: Served) -> None:
    reply = await kitchen.post(message("echo one two"), accept="application/json")
    assert reply.json() == {"name": "assistant", "content": "one two ", "role": "assistant", "metadata": {"done": True}}


@pytest.mark.promise("agentapp.http-health")
async def test_health_names_the_instance_and_its_uptime(kitchen: Served) -> None:
    async with kitchen.client as client:
        health = (await client.get("/health")).json()
        ping = (await client.get("/ping")).json()
    assert (health["status"], ping["status"]) == ("healthy", "Healthy")
    assert health["instance_id"]
    assert health["uptime"] > 0


@pytest.mark.promise("agentapp.http-invocations")
async def test_the_same_app_answers_as_an_agent(kitchen: Served) -> None:
    whole = await kitchen.post({"prompt": "echo one two", "stream": False}, "/invocations")
    assert whole.json()["result"] == "one two "
    assert await kitchen.chunks({"prompt": "echo one two"}, "/invocations") == ["one ", "two "]
    first = await kitchen.post({"prompt": "who", "stream": False, "session_id": "agent-1"}, "/invocations")
    again = await kitchen.post({"prompt": "who", "stream": False, "session_id": "agent-1"}, "/invocations")
    assert first.json()["result"].endswith("message 1")
    assert again.json()["result"].endswith("message 2")
    other = await kitchen.post({"prompt": "who", "stream": False}, "/invocations", **{"x-sandbox-id": "agent-1"})
    assert other.json()["result"].endswith("message 3")


@pytest.mark.promise("agentapp.http-errors")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "session_id is required"),
        ([], "the body must be an object"),
        ({"session_id": "s"}, "message is required"),
        ({"session_id": 7, "message": "x"}, "session_id must be"),
        ({"session_id": "../../etc", "message": "x"}, "session_id must be"),
        ({"session_id": "a/b", "message": "x"}, "session_id must be"),
        ({"session_id": "s\n", "message": "x"}, "session_id must be"),
        ({"session_id": "x" * 129, "message": "x"}, "session_id must be"),
        ({"session_id": "é", "message": "x"}, "session_id must be"),
        ({"session_id": "s", "message": {"content": "x", "role": "system"}}, "message.role"),
        ({"session_id": "s", "message": {"content": "x", "name": ""}}, "message.name"),
        ({"session_id": "s", "message": {}}, "message.content is required"),
        ({"session_id": "s", "message": {"content": 3}}, "message.content must be"),
        ({"session_id": "s", "message": {"content": []}}, "1 to 100 blocks"),
        ({"session_id": "s", "message": {"content": [{"type": "text", "text": "x"}] * 101}}, "1 to 100 blocks"),
        ({"session_id": "s", "message": {"content": [{"type": "tool_result", "output": "x"}]}}, "[0].type must be"),
        ({"session_id": "s", "message": "x", "metadata": "m"}, "metadata must be an object"),
        ({"session_id": "s", "message": "x", "metadata": {"tenant_id": "../x"}}, "metadata.tenant_id must be"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_a_reason(kitchen: Served, body: object, words: str) -> None:
    reply = await kitchen.post(body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["code"] == "INVALID_REQUEST"
    assert words in error["message"]
    assert error["request_id"] == reply.headers["x-request-id"]


@pytest.mark.promise("agentapp.http-no-disk")
@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": "/etc/passwd"},
        {"type": "url", "url": "file:///etc/passwd.png"},
        {"type": "url", "url": "app.py"},
        {"type": "url", "url": "http:///etc/passwd"},
        {"type": "url", "url": "http://user:pw@host/x.png"},
        {"type": "url", "url": None},
        {"type": "path", "path": "/etc/passwd"},
        {"type": "base64", "media_type": "image/png", "data": "not base64!"},
        {"type": "base64", "media_type": "text/html", "data": "aGk="},
    ],
)
@pytest.mark.parametrize("kind", ["image", "video", "audio"])
async def test_no_block_names_a_file_of_the_server(kitchen: Served, kind: str, source: dict[str, object]) -> None:
    reply = await kitchen.post(message([{"type": kind, "source": source}]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.promise("agentapp.http-no-disk")
async def test_blocks_that_are_what_they_say_reach_the_app(kitchen: Served) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    said = await kitchen.ask([{"type": "text", "text": "block it"}, image])
    assert "https://example.com/cat.png" in said
    reply = await kitchen.post(message([{"type": "audio", "source": {"type": "url", "url": "https://example.com/a.mp3"}}]))
    assert reply.status_code == 400, "AgentScope would fetch it, from inside our network"


@pytest.mark.promise("agentapp.http-errors")
async def test_other_mistakes_have_the_status_that_fits(kitchen: Served) -> None:
    async with kitchen.client as client:
        broken = await client.post("/invoke", content=b"{")
        large = await client.post("/invoke", content=b" " * (4 * 2**20 + 1))
        wrong = await client.get("/invoke")
        nowhere = await client.post("/nowhere")
        shutdown = await client.post("/shutdown")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "INVALID_JSON")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "TOO_LARGE")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert (nowhere.status_code, shutdown.status_code) == (404, 404)


@pytest.mark.promise("agentapp.http-errors")
async def test_what_the_app_raises_is_a_500_with_its_words_or_the_last_event(kitchen: Served) -> None:
    before = await kitchen.post(message("fail my words"))
    assert (before.status_code, before.json()["error"]["code"]) == (500, "RuntimeError")
    assert before.json()["error"]["message"] == "my words"
    reply = await kitchen.post(message("shout my words"))
    assert reply.status_code == 200
    assert b'"content":"before "' in reply.content
    assert reply.content.splitlines()[-3:-1] == [b"event: error", reply.content.splitlines()[-2]]
    assert b'"message":"my words"' in reply.content
    assert b'"done":true' not in reply.content
    as_agent = await kitchen.post({"prompt": "fail my words"}, "/invocations")
    assert (as_agent.status_code, as_agent.json()["error_type"]) == (500, "RuntimeError")


@pytest.mark.promise("agentapp.http-request-id")
async def test_a_request_id_comes_back_and_reaches_the_app(kitchen: Served) -> None:
    reply = await kitchen.post(message("context x", "ids", tenant_id="t", user_id="u", more=1), **{"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    assert "ids t u {'tenant_id': 't', 'user_id': 'u', 'more': 1} True" in reply.text


@pytest.mark.promise("agentapp.http-cors")
async def test_no_origin_is_let_in(kitchen: Served) -> None:
    async with kitchen.client as client:
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        preflight = await client.request("OPTIONS", "/invoke", headers=asked)
        reply = await client.post("/invoke", json=message("echo x"), headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.promise("agentapp.http-ids")
async def test_a_caller_s_message_id_is_not_the_memory_s(kitchen: Served, models: ModelServer) -> None:
    for text in ("remembering first", "remembering second"):
        body = message(text, "same-id")
        body["message"]["id"] = "always-the-same"
        reply = await kitchen.post(body)
        assert reply.status_code == 200
    last = models.requests[-1]["messages"]
    assert [said["content"][0]["text"] for said in last if said["role"] == "user"] == ["first", "second"]


@pytest.mark.promise("agentapp.cancels")
async def test_a_client_that_leaves_stops_the_model(kitchen: Served, models: ModelServer) -> None:
    models.delay = 0.05
    for verb in ("model", "react", "remembering", "called"):
        assert await left(kitchen, models, message(f"{verb} {'word ' * 400}", f"leaving-{verb}")), verb
    assert not (kitchen.directory / "went-on").exists(), "an agent that is cancelled does not go on with a made-up answer"
    models.delay = 0.0
    assert await kitchen.ask("remembering and now", "leaving-remembering") == "You said: and now"
    assert "interrupted" not in str(models.requests[-1]), "nothing that nobody said is in the memory"
