"""Agents that were written for something else run on the platform unchanged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.packages import write_agent

if TYPE_CHECKING:
    from pathlib import Path

    from support.platform import Platform

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

AGENTCORE = """
from bedrock_agentcore import BedrockAgentCoreApp, RequestContext

app = BedrockAgentCoreApp()

@app.entrypoint
async def agent(payload, context: RequestContext):
    if "stream" in payload["prompt"]:
        return words(payload["prompt"])
    return {"said": payload["prompt"], "session": context.session_id}

async def words(prompt):
    for word in prompt.split():
        yield word

if __name__ == "__main__":
    app.run()
"""
FASTAPI = """
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()

class Question(BaseModel):
    prompt: str

@app.get("/ping")
def ping():
    return {"status": "Healthy"}

@app.post("/invocations")
async def invoke(question: Question):
    return {"said": question.prompt, "session": None}

if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=8080)
"""
STARLETTE = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def ping(request):
    return JSONResponse({"status": "Healthy"})

async def invoke(request):
    return JSONResponse({"said": (await request.json())["prompt"], "session": None})

app = Starlette(routes=[Route("/ping", ping), Route("/invocations", invoke, methods=["POST"])])
uvicorn.run(app, host="0.0.0.0", port=8080)
"""
SESSION = {"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "session-1"}


async def said(platform: Platform, name: str) -> object:
    sandbox = await platform.create(name)
    reply = await platform.call(sandbox, "/invocations", method="POST", json={"prompt": "hello"}, headers=SESSION)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.promise("agent.foreign")
async def test_agents_of_other_frameworks_deploy_and_answer_unchanged(process_platform: Platform, tmp_path: Path) -> None:
    agents = {
        "of-agentcore": (AGENTCORE, "bedrock-agentcore\n"),
        "of-fastapi": (FASTAPI, "fastapi\nuvicorn\n"),
        "of-starlette": (STARLETTE, ""),
    }
    for name, (code, requirements) in agents.items():
        await process_platform.deploy(write_agent(tmp_path / name, name, code, requirements_txt=requirements))
    answers = dict(zip(agents, await asyncio.gather(*[said(process_platform, name) for name in agents]), strict=True))
    assert answers == {
        "of-agentcore": {"said": "hello", "session": "session-1"},
        "of-fastapi": {"said": "hello", "session": None},
        "of-starlette": {"said": "hello", "session": None},
    }
    sandbox = await process_platform.create("of-agentcore")
    stream = await process_platform.call(sandbox, "/invocations", method="POST", json={"prompt": "a stream"}, headers=SESSION)
    assert stream.text == 'data: "a"\n\ndata: "stream"\n\n'
