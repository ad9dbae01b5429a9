"""What users of agentscope and agentscope-runtime report, each shown not to happen; what is tested elsewhere is named in the promises."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from agentapps.models import Fault
from agentapps.serving import APPS, WAIT, free_port, message, project, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from agentapps.models import ModelServer
    from agentapps.serving import Served

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def embedded(directory: Path, models: ModelServer) -> AsyncGenerator[httpx.AsyncClient]:
    """Run the FastAPI application as its users do, and give a client of it."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONWARNINGS": "ignore", "MODEL_URL": models.openai}
    command = [sys.executable, str(project(directory, APPS / "embedded.py") / "app.py"), str(port)]
    quiet = subprocess.DEVNULL
    async with await anyio.open_process(command, env=environment, cwd=directory, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as client:
                with anyio.fail_after(WAIT):
                    while True:
                        with contextlib.suppress(httpx.TransportError):
                            await client.get("/health")
                            break
                        await anyio.sleep(0.1)
                yield client
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@pytest.mark.promise("agentapp.embedded", "agentapp.no-cross-talk", "agentapp.cancels")
async def test_a_react_agent_streams_out_of_fastapi(models: ModelServer, tmp_path: Path) -> None:
    answers: dict[str, str] = {}

    async def ask(client: httpx.AsyncClient, text: str) -> None:
        answers[text] = (await client.post("/chat", json={"text": text})).text

    async with embedded(tmp_path, models) as client:
        models.delay = 0.02
        async with client.stream("POST", "/chat", json={"text": "word " * 50}) as reply:
            pieces = [piece async for piece in reply.aiter_text()]
        assert len(pieces) > 10, "it comes in pieces"
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, client, f"number {number}")
        assert answers == {f"number {n}": f"You said: number {n}" for n in range(10)}
        models.left = anyio.Event()
        async with client.stream("POST", "/chat", json={"text": "word " * 400}) as reply:
            await anext(reply.aiter_text())
        with anyio.fail_after(20):
            await models.left.wait()


@pytest.mark.promise("agentapp.no-cross-talk")
async def test_twenty_sessions_at_once_hear_their_own_words_only(kitchen: Served, models: ModelServer) -> None:
    models.delay = 0.02
    answers: dict[int, str] = {}
    together = 0

    async def ask(number: int) -> None:
        nonlocal together
        words = f"word{number} " * 20
        *chunks, _done = await kitchen.chunks(message(f"react {words}", f"crowd-{number}"))
        together = max(together, models.streaming)
        answers[number] = "".join(chunk["content"] for chunk in chunks)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(ask, number)
        with anyio.fail_after(WAIT):
            while models.streaming < 10:
                await anyio.sleep(0.01)
    assert {number: text.split() for number, text in answers.items()} == {n: ["You", "said:"] + [f"word{n}"] * 20 for n in range(20)}


@pytest.mark.promise("agentapp.model-faults")
@pytest.mark.parametrize("kind", ["page", "nothing", "hollow"])
@pytest.mark.parametrize("verb", ["model", "whole", "react"])
async def test_an_answer_that_is_no_model_s_ends_and_the_session_goes_on(
    kind: str, verb: str, kitchen: Served, models: ModelServer
) -> None:
    session = f"no-answer-{kind}-{verb}"
    models.faults.append(Fault(kind=kind))
    reply = await kitchen.post(message(f"{verb} hi", session), accept="application/json")
    if verb == "whole":
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "MODEL_ERROR"), reply.text
        assert "is its base_url right?" in reply.json()["error"]["message"]
    else:
        assert (reply.status_code, reply.json()["content"]) == (200, ""), "a stream that says nothing is an answer that says nothing"
    assert await kitchen.ask(f"{verb} again", session) == "You said: again"


@pytest.mark.promise("agentapp.model-faults", "agentapp.tools-errors")
async def test_a_tool_s_call_that_is_no_json_does_not_end_the_session(kitchen: Served, models: ModelServer) -> None:
    del models
    for broken in ("{not json}", '{"query": }', '{"nope": 1}'):
        reply = await kitchen.post(message(f"react use search {broken}", "broken-call"), accept="application/json")
        assert reply.status_code == 200, reply.text
    assert await kitchen.ask("react again", "broken-call") == "You said: again"


@pytest.mark.promise("agentapp.http-no-disk")
@pytest.mark.parametrize("provider", ["gemini", "ollama"])
async def test_no_address_of_a_caller_is_fetched_from_inside(provider: str, models: ModelServer, tmp_path: Path) -> None:
    config = f"models: {{main: {{provider: {provider}, model: m, base_url: '{models.url}', api_key: sk-test}}}}\n"
    image = {"type": "image", "source": {"type": "url", "url": f"{models.url}/inside.png"}}
    app = "from agentscope.runtime import AgentApp, runtime\n\n\nclass App(AgentApp):\n    async def __call__(self, msg, ctx):\n        return await runtime.models.main([msg])\n"
    async with served(project(tmp_path, app, config)) as running:
        for body, path in ((message([image]), "/invoke"), ({"prompt": [image]}, "/invocations")):
            reply = await running.post(body, path)
            assert reply.status_code == 400, reply.text
            assert f"{provider}'s library would fetch" in reply.text
        assert await running.ask("hi") == "You said: hi"
    assert len(models.requests) == 1


@pytest.mark.promise("agentapp.http-request-id")
async def test_a_request_id_that_is_none_is_replaced(kitchen: Served) -> None:
    for hostile in ("x" * 500, "a b", "\u00e9", "'; drop", "../x"):
        async with kitchen.client as client:
            reply = await client.post("/invoke", json=message("echo x"), headers=[(b"x-request-id", hostile.encode("latin-1"))])
        assert reply.status_code == 200
        assert 0 < len(reply.headers["x-request-id"]) <= 128
        if len(hostile) > 128:
            assert reply.headers["x-request-id"] != hostile


@pytest.mark.promise("agentapp.sessions", "agentapp.http-errors")
@pytest.mark.parametrize("hostile", ["../../etc/passwd", "a/b", "a b", "x" * 129, "a\tb", "%2e%2e%2f", "a'; --"])
async def test_a_session_id_that_is_none_is_refused_wherever_it_stands(kitchen: Served, hostile: str) -> None:
    in_body = await kitchen.post({"prompt": "who", "stream": False, "session_id": hostile}, "/invocations")
    in_header = await kitchen.post({"prompt": "who", "stream": False}, "/invocations", **{"x-sandbox-id": hostile})
    assert in_body.status_code == 400, in_body.text
    assert in_header.status_code in (200, 400), in_header.text
    if in_header.status_code == 200:
        assert in_header.json()["result"].endswith("message 1"), "a header that is no id is none"
