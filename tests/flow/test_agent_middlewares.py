"""Middlewares around the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.agents import serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SOURCE = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp
from starlette.responses import JSONResponse
app = AgentRuntimeApp()

@app.middleware
async def outer(request, call_next):
    if request.url.path == "/own":
        return {"own": "answer"}
    if request.url.path == "/nothing":
        return None
    if request.url.path == "/raises":
        raise LookupError("of the middleware")
    try:
        response = await call_next(request)
    except ValueError as error:
        return JSONResponse({"seen": str(error)}, 418)
    response.headers["x-order"] = response.headers.get("x-order", "") + "outer"
    return response

@app.middleware
async def inner(request, call_next):
    if request.method == "POST":
        assert "prompt" in await request.json()
    response = await call_next(request)
    response.headers["x-order"] = "inner "
    return response

@app.entrypoint
async def agent(request):
    if request["prompt"] == "value":
        raise ValueError("bad value")
    if request["prompt"] == "key":
        raise KeyError("bad key")
    return words() if request["prompt"] == "stream" else request["prompt"]

async def words():
    yield 1
    yield 2

app.run()
"""


@pytest.mark.promise("agent.middleware")
async def test_middlewares_see_and_change_everything(tmp_path: Path) -> None:
    async with serving(SOURCE, tmp_path) as agent:
        answer = await agent.post({"prompt": "p"}, x_request_id="r")
        stream = await agent.post({"prompt": "stream"})
        ping = await agent.get("/ping")
        own = await agent.get("/own")
        nothing = await agent.get("/nothing")
        raises = await agent.get("/raises")
        value = await agent.post({"prompt": "value"})
        key = await agent.post({"prompt": "key"})
        large = await agent.post(b'"' + b"x" * 2_000_000 + b'"')
    assert (answer.json["result"], answer.headers["x-order"], answer.headers["x-request-id"]) == ("p", "inner outer", "r")
    assert [event.data for event in stream.events] == ["1", "2"]
    assert ping.headers["x-order"] == "inner outer"
    assert own.json == {"own": "answer"}
    assert (nothing.status, "outer returned nothing" in nothing.json["error"]) == (500, True)
    assert (raises.status, raises.json["error"], raises.json["status"]) == (500, "of the middleware", "error")
    assert (value.status, value.json) == (418, {"seen": "bad value"})
    assert (key.status, key.json["error_type"]) == (500, "KeyError")
    assert (large.status, large.json["error_type"]) == (413, "too_large")
