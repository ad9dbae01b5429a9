"""A ReActAgent behind routes of one's own: `agent.stream` in a FastAPI application, without an AgentApp."""

import sys
from contextlib import asynccontextmanager

import uvicorn
from agentscope.agent import ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import runtime
from fastapi import FastAPI
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app):
    await runtime.initialize()
    yield
    await runtime.shutdown()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health():
    return {}


@app.post("/chat")
async def chat(body: dict):
    agent = ReActAgent("Friday", "", runtime.models.main, toolkit=runtime.tools, memory=InMemoryMemory())

    async def pieces():
        async for piece in agent.stream(Msg("user", body["text"], "user")):
            yield piece.content if isinstance(piece.content, str) else ""

    return StreamingResponse(pieces(), media_type="text/plain")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
